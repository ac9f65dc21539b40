//! Verdicts page by page: memoised, so that a resumed call reads them back and goes on where the last one stopped.

use godwit_sdk::prelude::*;
use serde::de::DeserializeOwned;

/// Verdicts over a stretch of keys.
pub trait Page: Serialize + DeserializeOwned {
    /// The last key of the stretch.
    fn upto(&self) -> &str;
    /// Nothing comes after it.
    fn is_last(&self) -> bool;
}

/// Pages under one name, with one of them in memory. Where they are made by a plan, which remembers nothing, they are
/// held here.
#[derive(Debug)]
pub struct Pages<P> {
    name: String,
    count: usize,
    complete: bool,
    held: Vec<P>,
}

impl<P: Page> Pages<P> {
    /// None yet; their memos are called `name/0`, `name/1`, ….
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), count: 0, complete: false, held: Vec::new() }
    }

    /// Reads back what is memoised, and gives the key up to which there are verdicts.
    pub fn recall<H: Host>(&mut self, host: &H, mut each: impl FnMut(&P)) -> Result<Option<String>> {
        let mut upto = None;
        while !self.complete
            && let Some(text) = host.memo_json(&self.memo(self.count), None)
        {
            let page = read::<P>(&text)?;
            each(&page);
            self.counted(&page);
            upto = Some(page.upto().to_owned());
        }
        Ok(upto)
    }

    /// The last page is there.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Keeps the next page.
    pub fn keep<H: Host>(&mut self, host: &H, page: P) -> Result<()> {
        let name = self.memo(self.count);
        self.counted(&page);
        if host.mode() == Mode::Plan {
            self.held.push(page);
            return Ok(());
        }
        let text = serde_json::to_string(&page)
            .map_err(|e| Error::Failed(format!("memo `{name}` can't be written as JSON: {e}")))?;
        host.memo_json(&name, Some(text));
        Ok(())
    }

    /// Goes through all pages that were recalled or kept.
    pub fn each<H: Host>(&self, host: &H, mut each: impl FnMut(&P) -> Result<()>) -> Result<()> {
        for number in 0..self.count {
            // Where some are memoised, they come first.
            let memoised = self.count - self.held.len();
            match number.checked_sub(memoised).and_then(|at| self.held.get(at)) {
                Some(page) => each(page)?,
                None => each(&self.memoised(host, number)?)?,
            }
        }
        Ok(())
    }

    /// Goes through the memoised pages of a step that is done, to the last one.
    pub fn each_of_done<H: Host>(host: &H, name: &str, mut each: impl FnMut(&P) -> Result<()>) -> Result<()> {
        let pages = Self::new(name);
        for number in 0.. {
            let page = pages.memoised(host, number)?;
            each(&page)?;
            if page.is_last() {
                break;
            }
        }
        Ok(())
    }

    fn memoised<H: Host>(&self, host: &H, number: usize) -> Result<P> {
        let name = self.memo(number);
        let text = host
            .memo_json(&name, None)
            .ok_or_else(|| Error::Failed(format!("memo `{name}` is gone: run the step again")))?;
        read(&text)
    }

    fn counted(&mut self, page: &P) {
        self.count += 1;
        self.complete = page.is_last();
    }

    fn memo(&self, number: usize) -> String {
        format!("{}/{number}", self.name)
    }
}

fn read<P: Page>(text: &str) -> Result<P> {
    serde_json::from_str(text)
        .map_err(|e| Error::Conflict(format!("a memoised page can't be read: {e}; start a new run")))
}

#[cfg(test)]
mod tests {
    use godwit_sdk::mock::MockHost;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Keys(String, bool);

    impl Page for Keys {
        fn upto(&self) -> &str {
            &self.0
        }

        fn is_last(&self) -> bool {
            self.1
        }
    }

    fn all(pages: &Pages<Keys>, host: &MockHost) -> Vec<String> {
        let mut all = Vec::new();
        let gather = |page: &Keys| {
            all.push(page.0.clone());
            Ok(())
        };
        pages.each(host, gather).unwrap();
        all
    }

    #[test]
    fn a_later_call_goes_on_where_the_first_one_stopped() {
        let host = MockHost::new();
        let mut first = Pages::new("page/0");
        assert_eq!(first.recall(&host, |_| {}).unwrap(), None);
        first.keep(&host, Keys("b".into(), false)).unwrap();
        first.keep(&host, Keys("d".into(), false)).unwrap();

        let mut seen = 0;
        let mut second = Pages::new("page/0");
        assert_eq!(second.recall(&host, |_| seen += 1).unwrap().as_deref(), Some("d"));
        assert!(seen == 2 && !second.is_complete());
        second.keep(&host, Keys("f".into(), true)).unwrap();
        assert_eq!(all(&second, &host), ["b", "d", "f"]);

        let mut third = Pages::<Keys>::new("page/0");
        third.recall(&host, |_| {}).unwrap();
        assert!(third.is_complete());
        let mut done = Vec::new();
        let gather = |page: &Keys| {
            done.push(page.0.clone());
            Ok(())
        };
        Pages::each_of_done(&host, "page/0", gather).unwrap();
        assert_eq!(done, ["b", "d", "f"]);
        Pages::<Keys>::each_of_done(&host, "page/1", |_| Ok(())).unwrap_err();
    }

    #[test]
    fn a_plan_holds_its_pages_and_remembers_none() {
        let host = MockHost::new().with_mode(Mode::Plan);
        let mut pages = Pages::new("page/0");
        pages.keep(&host, Keys("b".into(), true)).unwrap();
        assert_eq!(all(&pages, &host), ["b"]);
        assert_eq!(host.memo("page/0/0"), None);
    }
}
