//! Publications, and subscriptions: these are made disabled, and connect to nothing.

use crate::ddl::comment;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::{PublicationRow, SubscriptionRow};
use crate::sql::{ident, idents, literal, qualified};

impl Builder<'_> {
    pub(crate) fn publications(&mut self) {
        for row in &self.catalog.publications {
            let name = ident(&row.name);
            let mut node = Node::new(Kind::Publication, row.oid, "", &row.name);
            let all = if row.all_tables { " FOR ALL TABLES" } else { "" };
            node.create.push(format!("CREATE PUBLICATION {name}{all} WITH ({})", published(row)));
            node.create.extend(comment(&format!("PUBLICATION {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP PUBLICATION {name}"));
            if row.via_root {
                node.features.push((130_000, "publish_via_partition_root"));
            }
            if row.generated != "n" {
                node.features.push((180_000, "publish_generated_columns"));
            }
            node.superuser = row.all_tables;
            self.add("pg_publication", node);
        }
        self.publication_tables();
        self.publication_schemas();
    }

    fn publication_tables(&mut self) {
        for row in &self.catalog.publication_tables {
            let (Some(publication), Some(table)) =
                (self.node("pg_publication", row.publication), self.node("pg_class", row.relation))
            else {
                continue;
            };
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let on = qualified(&relation.schema, &relation.name);
            let alter = format!("ALTER PUBLICATION {}", ident(&row.name));
            let mut node = Node::new(Kind::PublicationTable, row.oid, &relation.schema, &row.name);
            node.on = Some(relation.label());
            node.relation = Some(relation.oid);
            let mut create = format!("{alter} ADD TABLE ONLY {on}");
            if let Some(columns) = &row.columns {
                create += &format!(" ({})", idents(columns.iter().map(String::as_str)));
                node.features.push((150_000, "columns of a publication's table"));
            }
            if let Some(filter) = &row.filter {
                create += &format!(" WHERE ({filter})");
                node.features.push((150_000, "row filter of a publication"));
            }
            node.create.push(create);
            node.drop.push(format!("{alter} DROP TABLE ONLY {on}"));
            node.needs.extend([publication, table]);
            self.add("pg_publication_rel", node);
        }
    }

    fn publication_schemas(&mut self) {
        for row in &self.catalog.publication_schemas {
            let (Some(publication), Some(schema)) =
                (self.node("pg_publication", row.publication), self.node("pg_namespace", row.namespace))
            else {
                continue;
            };
            let alter = format!("ALTER PUBLICATION {}", ident(&row.name));
            let mut node = Node::new(Kind::PublicationSchema, row.oid, &row.schema, &row.name);
            node.on = Some(row.schema.clone());
            node.create.push(format!("{alter} ADD TABLES IN SCHEMA {}", ident(&row.schema)));
            node.drop.push(format!("{alter} DROP TABLES IN SCHEMA {}", ident(&row.schema)));
            node.features.push((150_000, "publication of a schema"));
            node.superuser = true;
            node.needs.extend([publication, schema]);
            self.add("pg_publication_namespace", node);
        }
    }

    pub(crate) fn subscriptions(&mut self) {
        for row in &self.catalog.subscriptions {
            let name = ident(&row.name);
            let mut node = Node::new(Kind::Subscription, row.oid, "", &row.name);
            let publications = idents(row.publications.iter().map(String::as_str));
            let mut options = vec!["connect = false".to_owned(), "slot_name = NONE".to_owned()];
            // Before 16 a subscription always runs as its owner, before 14 it never streams.
            let version = self.catalog.version;
            let alter = format!("ALTER SUBSCRIPTION {name} SET");
            if version < 160_000 {
                node.since.push((160_000, format!("{alter} (run_as_owner = true)")));
            }
            if version < 140_000 {
                node.since.push((140_000, format!("{alter} (streaming = off)")));
            }
            for (option, version, feature) in subscribed(row, version) {
                options.push(option);
                node.features.extend(version.map(|version| (version, feature)));
            }
            node.create.push(format!(
                "CREATE SUBSCRIPTION {name} CONNECTION {} PUBLICATION {publications} WITH ({})",
                literal(&row.connection),
                options.join(", ")
            ));
            node.create.extend(comment(&format!("SUBSCRIPTION {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP SUBSCRIPTION {name}"));
            if row.withheld {
                node.withheld.push("password".to_owned());
            }
            // From 16 on pg_create_subscription will do, but then the connection has to hold a password.
            node.superuser = true;
            self.add("pg_subscription", node);
        }
    }
}

fn published(row: &PublicationRow) -> String {
    let operations: Vec<&str> =
        [(row.insert, "insert"), (row.update, "update"), (row.delete, "delete"), (row.truncate, "truncate")]
            .into_iter()
            .filter_map(|(published, name)| published.then_some(name))
            .collect();
    let mut options = format!("publish = {}", literal(&operations.join(", ")));
    if row.via_root {
        options += ", publish_via_partition_root = true";
    }
    if row.generated == "s" {
        options += ", publish_generated_columns = stored";
    }
    options
}

/// What differs from the defaults: the option, and with which version it came under which name.
fn subscribed(row: &SubscriptionRow, version: u32) -> Vec<(String, Option<u32>, &'static str)> {
    let mut found = Vec::new();
    let mut say = |differs: bool, option: &str, version: u32, feature: &'static str| {
        if differs {
            found.push((option.to_owned(), Some(version), feature));
        }
    };
    say(row.binary, "binary = true", 140_000, "binary subscription");
    // From 18 on it is parallel unless told otherwise.
    say(row.streaming.starts_with('f'), "streaming = off", 140_000, "streaming subscription");
    say(row.streaming.starts_with('t'), "streaming = on", 140_000, "streaming subscription");
    say(row.streaming == "p", "streaming = parallel", 160_000, "parallel streaming");
    say(row.two_phase != "d", "two_phase = on", 150_000, "two-phase subscription");
    say(row.disable_on_error, "disable_on_error = true", 150_000, "disable_on_error");
    say(!row.password_required, "password_required = false", 160_000, "password_required");
    say(row.run_as_owner && version >= 160_000, "run_as_owner = true", 160_000, "run_as_owner");
    say(row.failover, "failover = true", 170_000, "failover subscription");
    say(row.origin.as_deref() == Some("none"), "origin = none", 160_000, "origin of a subscription");
    if row.synchronous_commit != "off" {
        found.push((format!("synchronous_commit = {}", literal(&row.synchronous_commit)), None, ""));
    }
    found
}
