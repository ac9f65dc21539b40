//! Owners, comments and privileges of large objects. What they hold is rows of a transfer.

use crate::ddl::comment;
use crate::ddl::privileges::{Subject, difference, restrict};
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::{Granted, LargeObjectGroup};
use crate::sql::ident;

impl Builder<'_> {
    pub(crate) fn large_objects(&mut self) {
        for group in &self.catalog.large_object_groups {
            let (Some(first), Some(last)) = (group.oids.first(), group.oids.last()) else { continue };
            let name = match group.oids.len() {
                1 => first.to_string(),
                count => format!("{first} to {last} ({count})"),
            };
            let mut node = Node::new(Kind::LargeObject, *first, "", &name);
            let all: Vec<String> = group.oids.iter().map(u32::to_string).collect();
            if let Some(owner) = &group.owner {
                node.create.push(each(&all, &format!("OWNER TO {}", ident(owner))));
                node.roles.push(owner.clone());
                node.member_of = Some(owner.clone());
            }
            node.create.extend(group.privileges(&all.join(", ")));
            if group.usual.is_some() {
                let granted = group.granted.as_deref().unwrap_or_default();
                restrict(&mut node, granted.iter().filter(|(grantee, ..)| *grantee != group.role));
            }
            for oid in &all {
                node.create.extend(group.comment_on(oid));
            }
            if !node.create.is_empty() {
                self.add_part(node);
            }
        }
    }
}

impl LargeObjectGroup {
    /// What is granted on some of them, by their numbers.
    pub fn privileges(&self, oids: &str) -> Vec<String> {
        let Some(usual) = &self.usual else { return Vec::new() };
        // Without owners, the connection's user owns everything, and has all privileges.
        let of = |entries: &[Granted]| -> Vec<Granted> {
            let kept = entries.iter().filter(|(grantee, ..)| self.owner.is_some() || *grantee != self.role);
            kept.cloned().collect()
        };
        let granted = self.granted.as_deref().unwrap_or_default();
        let object = format!("LARGE OBJECT {oids}");
        let subject = Subject { before: "", column: "", object: &object };
        difference(&of(granted), &of(usual), &subject).0
    }

    /// The statement that says what its comment says.
    pub fn comment_on(&self, oid: &str) -> Option<String> {
        comment(&format!("LARGE OBJECT {oid}"), self.comment.as_deref())
    }
}

/// ALTER LARGE OBJECT takes one at a time. One that the transfer didn't bring, since it is gone, is passed over.
fn each(oids: &[String], change: &str) -> String {
    if let [oid] = oids {
        return format!("ALTER LARGE OBJECT {oid} {change}");
    }
    format!(
        "DO $godwit$ DECLARE o oid; BEGIN FOR o IN SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m \
           WHERE m.oid = ANY ('{{{}}}'::oid[]) LOOP \
         EXECUTE 'ALTER LARGE OBJECT ' || o || $change$ {change}$change$; END LOOP; END $godwit$",
        oids.join(",")
    )
}
