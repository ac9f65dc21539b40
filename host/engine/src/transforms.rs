//! The transforms that the recipe puts into a step's transfers, and the proof that none of them misses its transfer.

use std::sync::Arc;

use async_trait::async_trait;
use godwit_model::capability::Transforms;
use godwit_model::effect::{Done, Effect, Preparation};
use godwit_model::plugin::{Limits, Pipe, Plugin, PluginKind};
use godwit_model::{Error, Json, PluginName, Result, StepId};
use godwit_recipe::label_matches;

use crate::rooms::Rooms;

/// Transfers that a hint names.
const SHOWN: usize = 8;

/// A transfer that was asked for, by the names that recipes and params know it by.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    label: String,
    /// Other names; `None` where they can't be known yet, since what they are read from is still to be made.
    others: Option<Vec<String>>,
}

impl Transfer {
    /// The transfer that an effect is, if it is one.
    pub fn of(
        rooms: &Rooms,
        transforms: &dyn Transforms,
        effect: &Effect,
        preparation: &Preparation,
        done: Option<&Done>,
    ) -> Option<Self> {
        // Held against transforms alone; a step may have millions of transfers.
        if transforms.is_empty() {
            return None;
        }
        let label = effect.action.transfer_label()?;
        let capability = rooms.capabilities.named(effect.action.capability());
        let others = match capability.names(effect, preparation, done) {
            // What the outcome doesn't tell isn't there.
            None if done.is_some() => Some(Vec::new()),
            others => others,
        };
        Some(Self { label, others })
    }

    /// A transfer at whose end nobody could look.
    pub fn unseen(transforms: &dyn Transforms, effect: &Effect) -> Option<Self> {
        if transforms.is_empty() {
            return None;
        }
        Some(Self { label: effect.action.transfer_label()?, others: None })
    }

    /// Whether all its names are known.
    pub fn is_named(&self) -> bool {
        self.others.is_some()
    }

    fn is_called(&self, selector: &str) -> bool {
        label_matches(selector, &self.label)
            || self.others.iter().flatten().any(|name| label_matches(selector, name))
    }
}

/// Which transfers one use of a transform is for.
pub(crate) struct Seat {
    plugin: PluginName,
    /// The recipe's: patterns of the labels of transfers that go through it.
    labels: Vec<String>,
    /// Its own, by its params: patterns each of which must fit one of those transfers.
    selectors: Vec<String>,
}

impl Seat {
    fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|pattern| label_matches(pattern, label))
    }

    fn check(&self, step: &StepId, transfers: &[Transfer]) -> Result<()> {
        let is_idle = |pattern: &&String| !transfers.iter().any(|t| label_matches(pattern, &t.label));
        let idle: Vec<&str> = self.labels.iter().filter(is_idle).map(String::as_str).collect();
        if !idle.is_empty() {
            let error = Error::invalid(format!(
                "the transform label(s) {} of step `{step}` match no transfer",
                quoted(&idle)
            ));
            return Err(error.hint(match transfers {
                [] => "the step moves nothing; take the transform out".to_owned(),
                _ => format!("the step's transfers are {}", shown(transfers.iter())),
            }));
        }
        let through = || transfers.iter().filter(|transfer| self.has(&transfer.label));
        if !through().all(Transfer::is_named) {
            // The run knows, and asks again.
            return Ok(());
        }
        let is_missed = |selector: &&String| !through().any(|transfer| transfer.is_called(selector));
        let missed: Vec<&str> = self.selectors.iter().filter(is_missed).map(String::as_str).collect();
        let Some(first) = missed.first() else { return Ok(()) };
        let past: Vec<&Transfer> = transfers.iter().filter(|transfer| transfer.is_called(first)).collect();
        let error = Error::invalid(format!(
            "transform `{}` of step `{step}` has rules for {}, and no transfer of that name goes through it",
            self.plugin,
            quoted(&missed)
        ));
        Err(error.hint(if past.is_empty() {
            format!("mend the name in its `with`; what goes through it is {}", shown(through()))
        } else {
            format!("add {} to its `labels`, or take the rule out", shown(past.into_iter()))
        }))
    }
}

/// One transform of a step, ready to be opened.
struct Loaded {
    plugin: Arc<dyn Plugin>,
    seat: Seat,
    params: Json,
    limits: Limits,
}

/// The transforms of a step, in the recipe's order.
#[derive(Default)]
pub(crate) struct StepTransforms {
    uses: Vec<Loaded>,
}

impl StepTransforms {
    /// Adds one use, and asks it which transfers it has rules for. Refuses what isn't a transform.
    pub async fn add(
        &mut self,
        plugin: Arc<dyn Plugin>,
        labels: Vec<String>,
        params: Json,
        limits: Limits,
    ) -> Result<()> {
        let name = plugin.manifest().name.clone();
        if plugin.kind() != PluginKind::Transform {
            return Err(Error::invalid(format!("plugin `{name}` is a step, not a transform"))
                .hint("use it as the `plugin` of a step"));
        }
        let selectors = plugin.selects(&params, &limits).await?;
        self.uses.push(Loaded { plugin, seat: Seat { plugin: name, labels, selectors }, params, limits });
        Ok(())
    }

    /// Fails where a label or a rule misses: a mask that never meets its table is a leak. `transfers` are all that the
    /// step has asked for.
    pub fn check(&self, step: &StepId, transfers: &[Transfer]) -> Result<()> {
        self.uses.iter().try_for_each(|transform| transform.seat.check(step, transfers))
    }
}

#[async_trait]
impl Transforms for StepTransforms {
    fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    fn applies(&self, label: &str) -> bool {
        self.uses.iter().any(|transform| transform.seat.has(label))
    }

    async fn open(&self, label: &str, shape: &Json) -> Result<Vec<Box<dyn Pipe>>> {
        let mut pipes = Vec::new();
        for transform in self.uses.iter().filter(|transform| transform.seat.has(label)) {
            pipes.push(transform.plugin.pipe(&transform.params, shape, &transform.limits).await?);
        }
        Ok(pipes)
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn shown<'a>(mut transfers: impl Iterator<Item = &'a Transfer>) -> String {
    let labels: Vec<&str> = transfers.by_ref().take(SHOWN).map(|transfer| transfer.label.as_str()).collect();
    quoted(&labels) + if transfers.next().is_some() { ", …" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(labels: &[&str], selectors: &[&str]) -> Seat {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Seat { plugin: "mask".into(), labels: owned(labels), selectors: owned(selectors) }
    }

    fn transfers() -> Vec<Transfer> {
        let named = |label: &str, others: &[&str]| Transfer {
            label: label.to_owned(),
            others: Some(others.iter().map(ToString::to_string).collect()),
        };
        vec![
            named("public.users", &[]),
            named("public.events_2025", &["public.events"]),
            named("public.events_2026", &["public.events"]),
            named("audit.log", &[]),
        ]
    }

    fn check(labels: &[&str], selectors: &[&str]) -> std::result::Result<(), (String, String)> {
        let checked = seat(labels, selectors).check(&StepId::new("copy"), &transfers());
        checked.map_err(|error| (error.message, error.hint.unwrap_or_default()))
    }

    #[test]
    fn a_rule_fits_by_label_by_root_and_by_pattern() {
        check(&["*"], &["public.users", "public.events", "public.events_2026", "audit.*"]).unwrap();
        check(&["public.events*"], &["public.events"]).unwrap();
        check(&["public.events_2026"], &["public.events"]).unwrap();
        check(&["*"], &[]).unwrap();
    }

    #[test]
    fn a_rule_that_nothing_fits_is_named() {
        let (message, hint) = check(&["public.*"], &["public.user", "public.users", "x.y"]).unwrap_err();
        assert!(message.contains("`mask` of step `copy` has rules for `public.user`, `x.y`"), "{message}");
        assert!(hint.contains("`public.users`, `public.events_2025`, `public.events_2026`"), "{hint}");
        assert!(!hint.contains("audit"), "{hint}");
    }

    #[test]
    fn a_rule_whose_transfer_goes_past_the_transform_is_named_with_the_label_that_lacks() {
        let (message, hint) = check(&["public.users"], &["public.users", "public.events"]).unwrap_err();
        assert!(message.contains("rules for `public.events`,"), "{message}");
        assert!(hint.contains("add `public.events_2025`, `public.events_2026` to its `labels`"), "{hint}");
    }

    #[test]
    fn a_label_that_nothing_fits_comes_first() {
        let (message, hint) = check(&["public.user"], &["public.user"]).unwrap_err();
        assert!(message.contains("label(s) `public.user` of step `copy` match no transfer"), "{message}");
        assert!(hint.contains("transfers are `public.users`"), "{hint}");
        let error = seat(&["*"], &[]).check(&StepId::new("copy"), &[]).unwrap_err();
        assert!(error.hint.unwrap().contains("moves nothing"));
    }

    #[test]
    fn a_plan_that_does_not_know_all_names_leaves_rules_to_the_run() {
        let mut transfers = transfers();
        transfers[1].others = None;
        let step = StepId::new("copy");
        seat(&["*"], &["public.nothing"]).check(&step, &transfers).unwrap();
        seat(&["public.users"], &["public.nothing"]).check(&step, &transfers).unwrap_err();
        seat(&["nothing"], &[]).check(&step, &transfers).unwrap_err();
    }
}
