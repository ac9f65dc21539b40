//! Two listings side by side, as one stream in the order of the keys.

use std::collections::VecDeque;

use godwit_sdk::prelude::*;

use crate::filter::Filter;
use crate::mapping::Mapping;
use crate::{SOURCE, TARGET};

/// Objects whose counterparts are asked for at once, where no listing can give them.
const AT_ONCE: usize = 500;

/// One side's listing with the next object in view.
struct Stream<O> {
    pages: O,
    page: std::vec::IntoIter<ObjectInfo>,
    ahead: Option<ObjectInfo>,
    /// Length of the prefix.
    prefix: usize,
}

impl<O: ObjectSource> Stream<O> {
    fn open(pages: O, prefix: &str) -> Result<Self> {
        let mut stream = Self { pages, page: Vec::new().into_iter(), ahead: None, prefix: prefix.len() };
        stream.step()?;
        Ok(stream)
    }

    /// The object in view; the next one comes into view.
    fn step(&mut self) -> Result<Option<ObjectInfo>> {
        let mut next = self.page.next();
        if next.is_none() {
            self.page = self.pages.next_page()?.into_iter();
            next = self.page.next();
        }
        Ok(std::mem::replace(&mut self.ahead, next))
    }

    /// The key in view, without the prefix.
    fn rest(&self) -> Option<&str> {
        self.ahead.as_ref().map(|object| object.key.get(self.prefix..).unwrap_or_default())
    }
}

/// Where the target's side comes from.
enum Counterparts<O> {
    /// The bucket isn't there.
    None,
    Listing(Stream<O>),
    /// Keys have other names there, and so another order: asked for one by one.
    Asked(VecDeque<(String, ObjectInfo, Option<ObjectInfo>)>),
}

/// What one key has on both sides.
pub struct Pair {
    /// The key at the source without the prefix.
    pub rest: String,
    pub source: Option<ObjectInfo>,
    pub target: Option<ObjectInfo>,
}

/// Both listings of a mapping as one stream.
pub struct Walk<'a, H: Host> {
    host: &'a H,
    mapping: &'a Mapping,
    filter: &'a Filter,
    source: Stream<H::Objects>,
    target: Counterparts<H::Objects>,
}

impl<'a, H: Host> Walk<'a, H> {
    /// Begins after the key `after`, which has no prefix.
    pub fn open(
        host: &'a H,
        mapping: &'a Mapping,
        filter: &'a Filter,
        target_exists: bool,
        after: Option<&str>,
    ) -> Result<Self> {
        let list = |slot: &str, bucket: &str, prefix: &str| {
            let after = after.map(|after| format!("{prefix}{after}"));
            Stream::open(host.list_objects(slot, bucket, prefix, after.as_deref())?, prefix)
        };
        let source = list(SOURCE, &mapping.source, &mapping.prefix)?;
        let target = match (target_exists, mapping.names.is_empty()) {
            (false, _) => Counterparts::None,
            (true, true) => Counterparts::Listing(list(TARGET, &mapping.target, &mapping.target_prefix)?),
            (true, false) => Counterparts::Asked(VecDeque::new()),
        };
        let mut walk = Self { host, mapping, filter, source, target };
        // A store may take no notice of where a listing was to begin.
        if let Some(after) = after {
            walk.skip_to_after(after)?;
        }
        Ok(walk)
    }

    /// Passes over the keys up to this one.
    pub fn skip_to_after(&mut self, upto: &str) -> Result<()> {
        if let Counterparts::Asked(waiting) = &mut self.target {
            while waiting.front().is_some_and(|(rest, ..)| rest.as_str() <= upto) {
                waiting.pop_front();
            }
        }
        while self.source.rest().is_some_and(|ahead| ahead <= upto) {
            self.source.step()?;
        }
        if let Counterparts::Listing(target) = &mut self.target {
            while target.rest().is_some_and(|ahead| ahead <= upto) {
                target.step()?;
            }
        }
        Ok(())
    }

    /// The next key of either side, without the prefix; the filter may leave it out.
    pub fn ahead(&self) -> Option<&str> {
        let source = self.source.rest();
        match &self.target {
            Counterparts::None => source,
            Counterparts::Asked(waiting) => waiting.front().map(|(rest, ..)| rest.as_str()).or(source),
            Counterparts::Listing(target) => match (source, target.rest()) {
                (Some(source), Some(target)) => Some(source.min(target)),
                (source, target) => source.or(target),
            },
        }
    }

    /// The next key that the filter admits.
    pub fn next_pair(&mut self) -> Result<Option<Pair>> {
        loop {
            let Some(pair) = self.step()? else { return Ok(None) };
            let admitted = match (&pair.source, &pair.target) {
                (Some(source), _) => self.filter.admits(source),
                // Patterns are over the source's keys.
                (None, _) => self.filter.admits_key(&self.mapping.source_key(&pair.rest)),
            };
            if admitted {
                return Ok(Some(pair));
            }
        }
    }

    fn step(&mut self) -> Result<Option<Pair>> {
        if let Counterparts::Asked(waiting) = &mut self.target {
            if waiting.is_empty() {
                let mut objects = Vec::new();
                while objects.len() < AT_ONCE {
                    let Some(rest) = self.source.rest().map(str::to_owned) else { break };
                    objects.extend(self.source.step()?.map(|object| (rest, object)));
                }
                let keys: Vec<String> =
                    objects.iter().map(|(rest, _)| self.mapping.target_key(rest)).collect();
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                let found = match keys.is_empty() {
                    true => Vec::new(),
                    false => self.host.stat_objects(TARGET, &self.mapping.target, &keys),
                };
                for ((rest, object), found) in objects.into_iter().zip(found) {
                    waiting.push_back((rest, object, found?));
                }
            }
            let next = waiting.pop_front();
            return Ok(next.map(|(rest, source, target)| Pair { rest, source: Some(source), target }));
        }
        let Some(rest) = self.ahead().map(str::to_owned) else { return Ok(None) };
        let mut source = None;
        if self.source.rest() == Some(rest.as_str()) {
            source = self.source.step()?;
        }
        let mut target = None;
        if let Counterparts::Listing(stream) = &mut self.target
            && stream.rest() == Some(rest.as_str())
        {
            target = stream.step()?;
        }
        Ok(Some(Pair { rest, source, target }))
    }
}
