//! Many things of one kind, of which a message spells out a few.

/// Names that a message spells out.
pub const SHOWN: usize = 10;

/// Objects of one kind: how many, and the first few by name.
#[derive(Debug, Clone, Default)]
pub struct Named {
    pub count: u64,
    pub shown: Vec<String>,
}

impl Named {
    pub fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(name());
        }
    }

    /// `a, b and 7 more`.
    pub fn list(&self) -> String {
        let more = match self.count - self.shown.len() as u64 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}", self.shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let mut named = Named::default();
        for number in 0..SHOWN + 3 {
            named.add(|| number.to_string());
        }
        assert!(named.list().ends_with("9 and 3 more"), "{}", named.list());
    }
}
