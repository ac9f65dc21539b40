//! Which sections of a database a step is about, in pg_dump's words.

use godwit_sdk::prelude::*;

use crate::graph::NodeId;
use crate::kind::Phase;
use crate::order::late;
use crate::{Graph, Node};

/// A section, as `pg_dump --section` divides a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Everything that rows need: schemas, types, functions, tables, views.
    PreData,
    /// Rows and the positions of sequences.
    Data,
    /// What is made over rows: keys, indexes, foreign keys, triggers, rules, policies, materialized views' content, owners
    /// and privileges.
    PostData,
}

/// The sections that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    pub before: bool,
    pub rows: bool,
    pub after: bool,
}

impl Sections {
    pub const ALL: Self = Self { before: true, rows: true, after: true };

    /// What the params `sections`, `schema_only`, `data_only` and `keep` say together; fails where they contradict each
    /// other. No section named is all of them.
    pub fn of(sections: &[Section], schema_only: bool, data_only: bool, keep: &[String]) -> Result<Self> {
        if schema_only && data_only {
            return Err(Error::Invalid(
                "`schema_only` and `data_only` exclude each other; set one of them".into(),
            ));
        }
        if !sections.is_empty() && (schema_only || data_only) {
            return Err(Error::Invalid(
                "`sections` says what `schema_only` and `data_only` say in other words; set one of them"
                    .into(),
            ));
        }
        let named = |section| sections.is_empty() || sections.contains(&section);
        let chosen = Self {
            before: named(Section::PreData) && !data_only,
            rows: named(Section::Data) && !schema_only,
            after: named(Section::PostData) && !data_only,
        };
        if !keep.is_empty() && !chosen.fills() {
            return Err(Error::Invalid(
                "`keep` names tables of a schema that exists; it belongs to `data_only`, which is not set"
                    .into(),
            ));
        }
        Ok(chosen)
    }

    /// Whether rows go into tables that are there already.
    pub fn fills(self) -> bool {
        self.rows && !self.before
    }

    /// Whether anything is made beside rows.
    pub fn makes(self) -> bool {
        self.before || self.after
    }

    /// Which nodes of a sorted graph belong to the sections.
    pub fn nodes(self, graph: &Graph, order: &[NodeId]) -> Vec<NodeId> {
        let late = late(&graph.nodes, order);
        let wanted = |id: &NodeId| {
            if is_before(&graph.nodes[*id], late.contains(id)) { self.before } else { self.after }
        };
        order.iter().copied().filter(wanted).collect()
    }
}

/// Whether a node belongs to what rows need; a late one waits for keys, which come after rows.
pub fn is_before(node: &Node, is_late: bool) -> bool {
    node.kind.phase() == Phase::Before && !is_late
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sections: &[Section], schema_only: bool, data_only: bool) -> (bool, bool, bool) {
        let Sections { before, rows, after } =
            Sections::of(sections, schema_only, data_only, &[]).expect("no contradiction");
        (before, rows, after)
    }

    #[test]
    fn the_old_words_and_the_new_ones_say_the_same() {
        assert_eq!(of(&[], false, false), (true, true, true));
        assert_eq!(of(&[], true, false), of(&[Section::PreData, Section::PostData], false, false));
        assert_eq!(of(&[], false, true), of(&[Section::Data], false, false));
        assert_eq!(of(&[Section::PostData], false, false), (false, false, true));
    }

    #[test]
    fn contradictions_are_refused() {
        let keep = ["t".to_owned()];
        for (sections, schema_only, data_only, keep) in [
            (&[][..], true, true, &[][..]),
            (&[Section::Data], true, false, &[]),
            (&[Section::Data], false, true, &[]),
            (&[], false, false, &keep),
            (&[Section::PreData, Section::Data], false, false, &keep),
        ] {
            assert!(Sections::of(sections, schema_only, data_only, keep).is_err(), "{sections:?}");
        }
        assert!(Sections::of(&[Section::Data, Section::PostData], false, false, &keep).is_ok());
    }
}
