//! Functions, procedures and aggregates.

use crate::ddl::comment;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::{AggregateParts, RoutineRow};
use crate::sql::{literal, qualified, statement};

impl<'a> Builder<'a> {
    pub(crate) fn routines(&mut self) {
        for row in &self.catalog.routines {
            let (kind, word) = match row.kind.as_str() {
                "a" => (Kind::Aggregate, "AGGREGATE"),
                "p" => (Kind::Procedure, "PROCEDURE"),
                _ => (Kind::Function, "FUNCTION"),
            };
            let signature = match &row.aggregate {
                // `count(*)` style aggregates have no arguments; their signature says so by a star.
                Some(_) if row.arguments.is_empty() => format!("{}(*)", qualified(&row.schema, &row.name)),
                _ => format!("{}({})", qualified(&row.schema, &row.name), row.arguments),
            };
            let name = without_in(&format!("{}({})", row.name, row.arguments));
            let mut node = Node::new(kind, row.oid, &row.schema, &name);
            match (&row.definition, &row.aggregate) {
                (Some(definition), _) => {
                    node.create.push(create_routine(definition));
                    node.superuser = is_untrusted(definition);
                    if has_sql_body(row) {
                        node.features.push((140_000, "SQL-standard function body"));
                    }
                }
                (None, Some(parts)) => node.create.push(create_aggregate(row, parts)),
                (None, None) => continue,
            }
            node.create.extend(comment(&format!("{word} {signature}"), row.comment.as_deref()));
            node.drop.push(format!("DROP {word} {signature}"));
            self.add("pg_proc", node);
        }
    }
}

/// A procedure's name and arguments as every major has them: from 14 on the server says IN before each that is one.
pub(crate) fn without_in(signature: &str) -> String {
    signature.replace("(IN ", "(").replace(", IN ", ", ")
}

/// `pg_get_functiondef` says CREATE OR REPLACE; nothing may be replaced here.
fn create_routine(definition: &str) -> String {
    let definition = statement(definition);
    match definition.strip_prefix("CREATE OR REPLACE ") {
        Some(rest) => format!("CREATE {rest}"),
        None => definition,
    }
}

/// Whether it is code of the server's machine, which only superusers may put there.
fn is_untrusted(definition: &str) -> bool {
    definition.lines().take_while(|line| !line.starts_with("AS ")).any(|line| {
        line.strip_prefix(" LANGUAGE ")
            .and_then(|rest| rest.split_whitespace().next())
            .is_some_and(|language| matches!(language, "c" | "internal"))
    })
}

/// A body in SQL's own syntax is written without `AS`; one in a string always begins a line with it.
fn has_sql_body(row: &RoutineRow) -> bool {
    row.definition.as_deref().is_some_and(|definition| !definition.contains("\nAS "))
}

fn create_aggregate(row: &RoutineRow, parts: &AggregateParts) -> String {
    let mut options = vec![format!("SFUNC = {}", parts.transition), format!("STYPE = {}", parts.ty)];
    let modify = |name: &str, code: &str, usual: &str| {
        (code != usual).then(|| {
            let word = match code {
                "s" => "SHAREABLE",
                "w" => "READ_WRITE",
                _ => "READ_ONLY",
            };
            format!("{name} = {word}")
        })
    };
    // Ordered-set aggregates modify their state by default, plain ones don't (CREATE AGGREGATE, FINALFUNC_MODIFY).
    let usual = if parts.kind == "n" { "r" } else { "w" };
    let named = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} = {value}"));
    if parts.space != 0 {
        options.push(format!("SSPACE = {}", parts.space));
    }
    options.extend(named("FINALFUNC", &parts.finish));
    if parts.final_extra {
        options.push("FINALFUNC_EXTRA".to_owned());
    }
    options
        .extend(parts.finish.as_ref().and_then(|_| modify("FINALFUNC_MODIFY", &parts.final_modify, usual)));
    options.extend(named("COMBINEFUNC", &parts.combine));
    options.extend(named("SERIALFUNC", &parts.serial));
    options.extend(named("DESERIALFUNC", &parts.deserial));
    options.extend(parts.initial.as_ref().map(|value| format!("INITCOND = {}", literal(value))));
    options.extend(named("MSFUNC", &parts.moving_transition));
    options.extend(named("MINVFUNC", &parts.moving_inverse));
    options.extend(named("MSTYPE", &parts.moving_type));
    if parts.moving_space != 0 {
        options.push(format!("MSSPACE = {}", parts.moving_space));
    }
    options.extend(named("MFINALFUNC", &parts.moving_final));
    if parts.moving_final_extra {
        options.push("MFINALFUNC_EXTRA".to_owned());
    }
    options.extend(
        parts
            .moving_final
            .as_ref()
            .and_then(|_| modify("MFINALFUNC_MODIFY", &parts.moving_final_modify, usual)),
    );
    options.extend(parts.moving_initial.as_ref().map(|value| format!("MINITCOND = {}", literal(value))));
    options.extend(named("SORTOP", &parts.sort));
    if parts.kind == "h" {
        options.push("HYPOTHETICAL".to_owned());
    }
    match parts.parallel.as_str() {
        "s" => options.push("PARALLEL = SAFE".to_owned()),
        "r" => options.push("PARALLEL = RESTRICTED".to_owned()),
        _ => {}
    }
    let arguments = if parts.arguments.is_empty() { "*" } else { &parts.arguments };
    format!("CREATE AGGREGATE {}({arguments}) ({})", qualified(&row.schema, &row.name), options.join(", "))
}
