//! Languages, transforms, access methods, conversions and event triggers.

use crate::ddl::comment;
use crate::ddl::dependents::enabled_word;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::sql::{ident, literal, qualified};

impl Builder<'_> {
    pub(crate) fn languages(&mut self) {
        for row in &self.catalog.languages {
            let name = ident(&row.name);
            let mut node = Node::new(Kind::Language, row.oid, "", &row.name);
            let trusted = if row.trusted { "TRUSTED " } else { "" };
            let mut create = format!("CREATE {trusted}LANGUAGE {name}");
            for (word, function) in
                [("HANDLER", &row.handler), ("INLINE", &row.inline), ("VALIDATOR", &row.validator)]
            {
                create += &function.as_ref().map(|f| format!(" {word} {f}")).unwrap_or_default();
            }
            node.create.push(create);
            node.create.extend(comment(&format!("LANGUAGE {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP LANGUAGE {name}"));
            node.superuser = true;
            self.add("pg_language", node);
        }
    }

    pub(crate) fn transforms(&mut self) {
        for row in &self.catalog.transforms {
            let object = format!("TRANSFORM FOR {} LANGUAGE {}", row.ty, ident(&row.language));
            let mut node =
                Node::new(Kind::Transform, row.oid, "", &format!("{} for {}", row.ty, row.language));
            let part = |word: &str, function: &Option<String>| {
                function.as_ref().map(|f| format!("{word} SQL WITH FUNCTION {f}"))
            };
            let parts: Vec<String> =
                part("FROM", &row.from_sql).into_iter().chain(part("TO", &row.to_sql)).collect();
            node.create.push(format!("CREATE {object} ({})", parts.join(", ")));
            node.create.extend(comment(&object, row.comment.as_deref()));
            node.drop.push(format!("DROP {object}"));
            self.add("pg_transform", node);
        }
    }

    pub(crate) fn access_methods(&mut self) {
        for row in &self.catalog.access_methods {
            let name = ident(&row.name);
            let mut node = Node::new(Kind::AccessMethod, row.oid, "", &row.name);
            let kind = if row.kind == "t" { "TABLE" } else { "INDEX" };
            node.create.push(format!("CREATE ACCESS METHOD {name} TYPE {kind} HANDLER {}", row.handler));
            node.create.extend(comment(&format!("ACCESS METHOD {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP ACCESS METHOD {name}"));
            node.superuser = true;
            self.add("pg_am", node);
        }
    }

    pub(crate) fn conversions(&mut self) {
        for row in &self.catalog.conversions {
            let name = qualified(&row.schema, &row.name);
            let mut node = Node::new(Kind::Conversion, row.oid, &row.schema, &row.name);
            let default = if row.default { "DEFAULT " } else { "" };
            node.create.push(format!(
                "CREATE {default}CONVERSION {name} FOR {} TO {} FROM {}",
                literal(&row.source),
                literal(&row.target),
                row.function
            ));
            node.create.extend(comment(&format!("CONVERSION {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP CONVERSION {name}"));
            self.add("pg_conversion", node);
        }
    }

    pub(crate) fn event_triggers(&mut self) {
        for row in &self.catalog.event_triggers {
            let name = ident(&row.name);
            let mut node = Node::new(Kind::EventTrigger, row.oid, "", &row.name);
            let mut create = format!("CREATE EVENT TRIGGER {name} ON {}", ident(&row.event));
            if !row.tags.is_empty() {
                let tags: Vec<String> = row.tags.iter().map(|tag| literal(tag)).collect();
                create += &format!(" WHEN TAG IN ({})", tags.join(", "));
            }
            node.create.push(format!("{create} EXECUTE FUNCTION {}()", row.function));
            if row.enabled != "O" {
                node.create.push(format!("ALTER EVENT TRIGGER {name} {}", enabled_word(&row.enabled)));
            }
            node.create.extend(comment(&format!("EVENT TRIGGER {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP EVENT TRIGGER {name}"));
            if row.event == "login" {
                node.features.push((170_000, "event trigger on login"));
            }
            node.superuser = true;
            self.add("pg_event_trigger", node);
        }
    }
}
