//! Tablespaces: what lies in one of the source lies in one of the target only where the recipe maps it.

use std::collections::{BTreeMap, BTreeSet};

use godwit_sdk::types::{Error, Result};

use crate::catalog::Catalog;
use crate::graph::{Graph, Node};
use crate::kind::Kind;
use crate::preflight::Finding;
use crate::sql::ident;
use crate::target::Target;

/// Tablespace of the source to tablespace of the target. What lies in another one goes where the database does.
pub type TablespaceMap = BTreeMap<String, String>;

/// How many things lie in each tablespace that isn't mapped.
pub type Dropped = BTreeMap<String, u64>;

/// Fails where a name is empty.
pub fn check_tablespaces(map: &TablespaceMap) -> Result<()> {
    match map.iter().find(|(old, new)| old.is_empty() || new.is_empty()) {
        Some((old, new)) => Err(Error::Invalid(format!(
            "`tablespaces` maps `{old}` to `{new}`; both have to be names of tablespaces"
        ))),
        None => Ok(()),
    }
}

/// Puts other tablespaces in the place of those that `map` names, and none in the place of others; fails where `map` names
/// one that nothing lies in.
pub fn place<'a>(
    map: &TablespaceMap,
    places: impl Iterator<Item = &'a mut Option<String>>,
) -> Result<Dropped> {
    let mut seen = BTreeSet::new();
    let mut dropped = Dropped::new();
    for place in places {
        let Some(old) = place.take() else { continue };
        match map.get(&old) {
            Some(new) => *place = Some(new.clone()),
            None => *dropped.entry(old.clone()).or_default() += 1,
        }
        seen.insert(old);
    }
    let idle: Vec<&str> = map.keys().filter(|old| !seen.contains(*old)).map(String::as_str).collect();
    if idle.is_empty() {
        return Ok(dropped);
    }
    Err(Error::Invalid(format!(
        "`tablespaces` names what nothing lies in: {}; correct it in `with`",
        idle.join(", ")
    )))
}

/// What is said of those that are dropped.
pub fn of_dropped(dropped: &Dropped) -> Vec<Finding> {
    let say = |(name, count): (&String, &u64)| {
        let what =
            if *count == 1 { "1 table or index".to_owned() } else { format!("{count} tables and indexes") };
        Finding::note(
            format!("tablespace {name}"),
            format!(
                "stays behind: {what} in it will lie where the database does, unless `tablespaces` maps it"
            ),
        )
    };
    dropped.iter().map(say).collect()
}

/// What comes before statements whose things are to lie there, and what comes after them.
pub fn within(tablespace: &str) -> (String, String) {
    let begin = format!("SET LOCAL default_tablespace = {}", ident(tablespace));
    (begin, "SET LOCAL default_tablespace TO DEFAULT".to_owned())
}

/// A CREATE TABLE that says itself where: a setting would take the sequences of identity columns along.
pub fn table_within(statement: &str, tablespace: &str) -> Option<String> {
    let is_table =
        ["CREATE TABLE ", "CREATE UNLOGGED TABLE "].iter().any(|words| statement.starts_with(words));
    is_table.then(|| format!("{statement} TABLESPACE {}", ident(tablespace)))
}

impl Catalog {
    /// See [`place`].
    pub fn place(&mut self, map: &TablespaceMap) -> Result<Dropped> {
        let tables = self.relations.iter_mut().map(|row| &mut row.tablespace);
        place(map, tables.chain(self.indexes.iter_mut().map(|row| &mut row.tablespace)))
    }
}

impl Graph {
    /// Puts into the statements of each node where what they make is to lie.
    pub fn write_tablespaces(&mut self) {
        self.nodes.iter_mut().for_each(Node::write_tablespace);
    }
}

impl Node {
    fn write_tablespace(&mut self) {
        let Some(tablespace) = &self.tablespace else { return };
        if self.kind == Kind::Table {
            let first = self.create.first_mut().into_iter();
            for statement in first.chain(self.older.as_mut().map(|(_, create)| create)) {
                if let Some(within) = table_within(statement, tablespace) {
                    *statement = within;
                }
            }
            return;
        }
        let (begin, end) = within(tablespace);
        self.create.insert(0, begin);
        self.create.push(end);
    }
}

impl Target {
    /// Tablespaces that are missing, or that the connection's user may put nothing into.
    pub fn tablespaces<'a>(&self, named: impl Iterator<Item = &'a str>) -> Vec<Finding> {
        let named: BTreeSet<&str> = named.collect();
        let say = |name: &str| match self.spaces.get(name) {
            Some(true) => None,
            Some(false) => Some(Finding::error(
                format!("tablespace {name}"),
                format!("may not be used by `{}`", self.user),
                format!("GRANT CREATE ON TABLESPACE {} TO {}", ident(name), ident(&self.user)),
            )),
            None => Some(Finding::error(
                format!("tablespace {name}"),
                "is missing in the target",
                "make it, or map to another one by `tablespaces`",
            )),
        };
        named.into_iter().filter_map(say).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mapped_is_dropped_and_counted() {
        let map = TablespaceMap::from([("fast".to_owned(), "ssd".to_owned())]);
        let mut places = [Some("fast".to_owned()), None, Some("slow".to_owned()), Some("slow".to_owned())];
        let dropped = place(&map, places.iter_mut()).unwrap();
        assert_eq!(places, [Some("ssd".to_owned()), None, None, None]);
        assert_eq!(dropped, Dropped::from([("slow".to_owned(), 2)]));
        let idle = place(&map, std::iter::empty()).unwrap_err();
        assert!(idle.message().contains("nothing lies in: fast"), "{idle}");
    }

    #[test]
    fn a_table_says_where_it_lies_and_an_index_is_told_beforehand() {
        let mut table = Node::new(Kind::Table, 1, "s", "t");
        table.create =
            vec!["CREATE TABLE s.t (id int) WITH (fillfactor=50)".to_owned(), "COMMENT".to_owned()];
        table.tablespace = Some("a b".to_owned());
        let mut index = Node::new(Kind::Index, 2, "s", "i");
        index.create = vec!["CREATE INDEX i ON s.t USING btree (id) WHERE (id > 0)".to_owned()];
        index.tablespace = Some("fast".to_owned());
        let mut graph = Graph { nodes: vec![table, index], ..Graph::default() };
        graph.write_tablespaces();
        assert_eq!(
            graph.nodes[0].create,
            ["CREATE TABLE s.t (id int) WITH (fillfactor=50) TABLESPACE \"a b\"", "COMMENT"]
        );
        let (begin, end) = within("fast");
        assert_eq!(graph.nodes[1].create.first(), Some(&begin));
        assert_eq!(graph.nodes[1].create.last(), Some(&end));
    }
}
