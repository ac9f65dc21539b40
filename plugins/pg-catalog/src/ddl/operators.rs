//! Operators, their families and classes, and casts.

use crate::ddl::comment;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::{MemberFunction, MemberOperator};
use crate::sql::{ident, qualified};

impl Builder<'_> {
    pub(crate) fn operators(&mut self) {
        for row in &self.catalog.operators {
            let name = format!("{}.{}", ident(&row.schema), row.name);
            let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "NONE".to_owned());
            let types = format!("({}, {})", side(&row.left), side(&row.right));
            let mut node = Node::new(Kind::Operator, row.oid, &row.schema, &format!("{} {types}", row.name));
            let mut parts = vec![format!("FUNCTION = {}", row.function)];
            let named = |name: &str, value: &Option<String>| value.as_ref().map(|v| format!("{name} = {v}"));
            parts.extend(named("LEFTARG", &row.left));
            parts.extend(named("RIGHTARG", &row.right));
            parts.extend(named("COMMUTATOR", &row.commutator));
            parts.extend(named("NEGATOR", &row.negator));
            parts.extend(row.merges.then(|| "MERGES".to_owned()));
            parts.extend(row.hashes.then(|| "HASHES".to_owned()));
            parts.extend(named("RESTRICT", &row.restrict));
            parts.extend(named("JOIN", &row.join));
            node.create.push(format!("CREATE OPERATOR {name} ({})", parts.join(", ")));
            if row.right.is_none() {
                node.gone.push((140_000, "postfix operator"));
            }
            let object = format!("OPERATOR {name} {types}");
            node.create.extend(comment(&object, row.comment.as_deref()));
            node.drop.push(format!("DROP {object}"));
            self.add("pg_operator", node);
        }
    }

    pub(crate) fn operator_families(&mut self) {
        for row in &self.catalog.operator_families {
            let object =
                format!("OPERATOR FAMILY {} USING {}", qualified(&row.schema, &row.name), ident(&row.method));
            let name = format!("{} using {}", row.name, row.method);
            let mut node = Node::new(Kind::OperatorFamily, row.oid, &row.schema, &name);
            node.create.push(format!("CREATE {object}"));
            let members = members(row.operators.as_deref(), row.functions.as_deref());
            if !members.is_empty() {
                node.create.push(format!("ALTER {object} ADD {}", members.join(", ")));
            }
            node.create.extend(comment(&object, row.comment.as_deref()));
            node.drop.push(format!("DROP {object}"));
            node.superuser = true;
            self.add("pg_opfamily", node);
        }
    }

    pub(crate) fn operator_classes(&mut self) {
        for row in &self.catalog.operator_classes {
            let (class, method) = (qualified(&row.schema, &row.name), ident(&row.method));
            let object = format!("OPERATOR CLASS {class} USING {method}");
            let name = format!("{} using {}", row.name, row.method);
            let mut node = Node::new(Kind::OperatorClass, row.oid, &row.schema, &name);
            let default = if row.default { " DEFAULT" } else { "" };
            let mut parts: Vec<String> = row.key_type.iter().map(|ty| format!("STORAGE {ty}")).collect();
            parts.extend(members(row.operators.as_deref(), row.functions.as_deref()));
            if parts.is_empty() {
                // The grammar wants one item at least.
                parts.push(format!("STORAGE {}", row.ty));
            }
            node.create.push(format!(
                "CREATE OPERATOR CLASS {class}{default} FOR TYPE {} USING {method} FAMILY {} AS {}",
                row.ty,
                row.family,
                parts.join(", ")
            ));
            node.create.extend(comment(&object, row.comment.as_deref()));
            node.drop.push(format!("DROP {object}"));
            node.superuser = true;
            self.add("pg_opclass", node);
        }
    }

    pub(crate) fn casts(&mut self) {
        for row in &self.catalog.casts {
            let types = format!("{} AS {}", row.source, row.target);
            let mut node = Node::new(Kind::Cast, row.oid, "", &types);
            let how = match (row.method.as_str(), &row.function) {
                ("i", _) => "WITH INOUT".to_owned(),
                (_, Some(function)) => format!("WITH FUNCTION {function}"),
                (_, None) => {
                    // Nothing checks that the types are laid out alike.
                    node.superuser = true;
                    "WITHOUT FUNCTION".to_owned()
                }
            };
            let context = match row.context.as_str() {
                "a" => " AS ASSIGNMENT",
                "i" => " AS IMPLICIT",
                _ => "",
            };
            node.create.push(format!("CREATE CAST ({types}) {how}{context}"));
            node.create.extend(comment(&format!("CAST ({types})"), row.comment.as_deref()));
            node.drop.push(format!("DROP CAST ({types})"));
            self.add("pg_cast", node);
        }
    }
}

fn members(operators: Option<&[MemberOperator]>, functions: Option<&[MemberFunction]>) -> Vec<String> {
    let operators = operators.into_iter().flatten().map(|member| {
        let sort = member.sort.as_ref().map(|sort| format!(" FOR ORDER BY {sort}")).unwrap_or_default();
        format!("OPERATOR {} {}{sort}", member.number, member.operator)
    });
    let functions = functions.into_iter().flatten().map(|member| {
        format!("FUNCTION {} ({}, {}) {}", member.number, member.left, member.right, member.function)
    });
    operators.chain(functions).collect()
}
