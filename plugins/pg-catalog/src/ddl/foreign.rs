//! Foreign data wrappers, servers, user mappings, and the options of foreign tables.
//!
//! Options that may hold a secret are never read; an object that has one is made without it, and the graph says so.

use crate::ddl::comment;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::Options;
use crate::sql::{ident, literal};

impl Builder<'_> {
    pub(crate) fn wrappers(&mut self) {
        for row in &self.catalog.wrappers {
            let object = format!("FOREIGN DATA WRAPPER {}", ident(&row.name));
            let mut node = Node::new(Kind::Wrapper, row.oid, "", &row.name);
            let part = |word: &str, function: &Option<String>| {
                function.as_ref().map(|f| format!(" {word} {f}")).unwrap_or_default()
            };
            node.create.push(format!(
                "CREATE {object}{}{}{}",
                part("HANDLER", &row.handler),
                part("VALIDATOR", &row.validator),
                options(&row.options)
            ));
            node.create.extend(comment(&object, row.comment.as_deref()));
            node.drop.push(format!("DROP {object}"));
            node.withheld.clone_from(&row.withheld);
            node.superuser = true;
            self.add("pg_foreign_data_wrapper", node);
        }
    }

    pub(crate) fn servers(&mut self) {
        for row in &self.catalog.servers {
            let object = format!("SERVER {}", ident(&row.name));
            let mut node = Node::new(Kind::Server, row.oid, "", &row.name);
            let part = |word: &str, value: &Option<String>| {
                value.as_ref().map(|v| format!(" {word} {}", literal(v))).unwrap_or_default()
            };
            node.create.push(format!(
                "CREATE {object}{}{} FOREIGN DATA WRAPPER {}{}",
                part("TYPE", &row.ty),
                part("VERSION", &row.version),
                ident(&row.wrapper),
                options(&row.options)
            ));
            node.create.extend(comment(&object, row.comment.as_deref()));
            node.drop.push(format!("DROP {object}"));
            node.withheld.clone_from(&row.withheld);
            self.add("pg_foreign_server", node);
        }
        self.mappings();
    }

    fn mappings(&mut self) {
        for row in &self.catalog.mappings {
            let Some(server) = self.node("pg_foreign_server", row.server) else { continue };
            let everybody = row.role == "public";
            let role = if everybody { "PUBLIC".to_owned() } else { ident(&row.role) };
            let object = format!("USER MAPPING FOR {role} SERVER {}", ident(&row.server_name));
            let mut node = Node::new(Kind::UserMapping, row.oid, "", &row.role);
            node.on = Some(row.server_name.clone());
            if !everybody {
                node.roles.push(row.role.clone());
            }
            node.create.push(format!("CREATE {object}{}", options(&row.options)));
            node.drop.push(format!("DROP {object}"));
            node.withheld.clone_from(&row.withheld);
            node.needs.insert(server);
            self.add("pg_user_mapping", node);
        }
    }
}

/// ` OPTIONS (a 'x', …)`; empty for none.
pub(super) fn options(options: &Option<Options>) -> String {
    let list: Vec<String> =
        options.iter().flatten().map(|(name, value)| format!("{} {}", ident(name), literal(value))).collect();
    if list.is_empty() { String::new() } else { format!(" OPTIONS ({})", list.join(", ")) }
}
