//! Text search: parsers, templates, dictionaries and configurations.

use crate::ddl::comment;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::Oid;
use crate::sql::{ident, qualified};

impl Builder<'_> {
    pub(crate) fn text_search(&mut self) {
        self.parsers();
        self.templates();
        self.dictionaries();
        self.configurations();
    }

    fn parsers(&mut self) {
        for row in &self.catalog.parsers {
            let mut parts = vec![
                format!("START = {}", row.start),
                format!("GETTOKEN = {}", row.token),
                format!("END = {}", row.end),
            ];
            parts.extend(row.headline.as_ref().map(|headline| format!("HEADLINE = {headline}")));
            parts.push(format!("LEXTYPES = {}", row.types));
            let mut node = searched(Kind::Parser, row.oid, &row.schema, &row.name, &parts, &row.comment);
            node.superuser = true;
            self.add("pg_ts_parser", node);
        }
    }

    fn templates(&mut self) {
        for row in &self.catalog.templates {
            let mut parts: Vec<String> = row.init.iter().map(|init| format!("INIT = {init}")).collect();
            parts.push(format!("LEXIZE = {}", row.lexize));
            let mut node = searched(Kind::Template, row.oid, &row.schema, &row.name, &parts, &row.comment);
            node.superuser = true;
            self.add("pg_ts_template", node);
        }
    }

    fn dictionaries(&mut self) {
        for row in &self.catalog.dictionaries {
            let mut parts = vec![format!("TEMPLATE = {}", row.template)];
            parts.extend(row.options.clone());
            let node = searched(Kind::Dictionary, row.oid, &row.schema, &row.name, &parts, &row.comment);
            self.add("pg_ts_dict", node);
        }
    }

    fn configurations(&mut self) {
        for row in &self.catalog.configurations {
            let parts = [format!("PARSER = {}", row.parser)];
            let mut node =
                searched(Kind::Configuration, row.oid, &row.schema, &row.name, &parts, &row.comment);
            let alter = format!("ALTER TEXT SEARCH CONFIGURATION {}", qualified(&row.schema, &row.name));
            node.create.extend(row.mappings.iter().flatten().map(|mapping| {
                format!(
                    "{alter} ADD MAPPING FOR {} WITH {}",
                    ident(&mapping.token),
                    mapping.dictionaries.join(", ")
                )
            }));
            self.add("pg_ts_config", node);
        }
    }
}

fn searched(kind: Kind, oid: Oid, schema: &str, name: &str, parts: &[String], text: &Option<String>) -> Node {
    let object = format!("{} {}", kind.name().to_uppercase(), qualified(schema, name));
    let mut node = Node::new(kind, oid, schema, name);
    node.create.push(format!("CREATE {object} ({})", parts.join(", ")));
    node.create.extend(comment(&object, text.as_deref()));
    node.drop.push(format!("DROP {object}"));
    node
}
