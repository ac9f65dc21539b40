//! What a step is granted, against what its plugin asks for.

use godwit_model::plugin::{Access, ConnectionKind, Grant, SlotSpec};
use godwit_model::{ConnectionName, Json, SlotName};

use crate::checked::PluginInfo;
use crate::diagnostic::{Fault, Report, suggest};
use crate::expression::describe;
use crate::raw_step::{RawGrant, RawStep, step_span};
use crate::reader::Text;
use crate::steps::World;
use crate::template::Template;
use crate::vocabulary::{Place, Taint};

const NO_STEPS_IN_GRANTS: &str = "a plugin can't choose its own permissions";

/// A grant with its expressions.
pub(crate) struct GrantTemplate<'g> {
    raw: &'g RawGrant<'g>,
    connection: Option<Template>,
    database: Option<Template>,
    secrets: Vec<String>,
}

impl World<'_> {
    /// Grants against the slots of the plugin, without regard to which connection is granted.
    pub fn slots(&self, raw: &RawStep<'_>, plugin: &PluginInfo, report: &mut Report<'_>) {
        let slots = &plugin.manifest.slots;
        let name = raw.plugin.as_ref().map_or("", |plugin| plugin.value.as_str());
        for grant in &raw.grants {
            let Some(slot) = slots.iter().find(|slot| slot.name.as_str() == grant.slot.value) else {
                let fault = Fault::new(
                    "recipe::excess-grant",
                    &grant.slot.span,
                    format!("plugin `{name}` has no slot `{}`", grant.slot.value),
                );
                let hint = if slots.is_empty() {
                    Some("it asks for no connection: leave the grant out".to_owned())
                } else {
                    suggest(&grant.slot.value, slots.iter().map(|slot| slot.name.as_str()))
                };
                report.add(fault.hint_opt(hint));
                continue;
            };
            if let Some((access, span)) = &grant.access
                && *access < slot.access
            {
                report.add(
                    Fault::new(
                        "recipe::access",
                        span,
                        format!("plugin `{name}` needs `write` on slot `{}`", slot.name),
                    )
                    .label(slot.summary.as_str())
                    .hint("\"access\": \"write\""),
                );
            }
        }
        let grant_at =
            raw.node.member("grant").map_or_else(|| step_span(raw), |member| member.key_span.clone());
        for slot in slots.iter().filter(|slot| slot.required) {
            if !raw.grants.iter().any(|grant| grant.slot.value == slot.name.as_str())
                && raw.node.member("grant").and_then(|m| m.value.member(slot.name.as_str())).is_none()
            {
                report.add(
                    Fault::new(
                        "recipe::missing-grant",
                        &grant_at,
                        format!("{} grants nothing to slot `{}` of plugin `{name}`", raw.what, slot.name),
                    )
                    .label(format!("needs {} on a {} connection", slot.access.name(), slot.kind.name()))
                    .hint(self.grant_hint(slot)),
                );
            }
        }
        for kind in &plugin.needs_kinds {
            if !slots.iter().any(|slot| slot.kind == *kind)
                && let Some(plugin) = &raw.plugin
            {
                report.add(
                    Fault::new(
                        "recipe::ungranted-import",
                        &plugin.span,
                        format!(
                            "plugin `{name}` imports the {} capability, but declares no slot of that kind",
                            kind.name()
                        ),
                    )
                    .hint("no recipe can grant it; the plugin has to be mended"),
                );
            }
        }
    }

    fn grant_hint(&self, slot: &SlotSpec) -> String {
        let fitting: Vec<&str> = self
            .connections
            .iter()
            .filter(|(_, kind)| *kind == Some(slot.kind))
            .map(|(name, _)| name.as_str())
            .collect();
        let connection = if let [only] = fitting.as_slice() { only } else { "…" };
        format!(
            "\"grant\": {{ \"{}\": {{ \"connection\": \"{connection}\", \"access\": \"{}\" }} }}",
            slot.name,
            slot.access.name()
        )
    }

    pub fn grant_template<'g>(
        &self,
        raw: &RawStep<'_>,
        grant: &'g RawGrant<'g>,
        item: Option<&Taint>,
        report: &mut Report<'_>,
    ) -> GrantTemplate<'g> {
        let name = format!("the grant of slot `{}` of {}", grant.slot.value, raw.what);
        let compile = |node, report: &mut Report<'_>| {
            let mut template = Template::compile(node, self.source, report);
            let place = Place {
                name: &name,
                item,
                no_steps: Some(NO_STEPS_IN_GRANTS),
                no_secrets: Some("grants are shown in plans and reports"),
            };
            self.vocabulary.check(&mut template, place, report);
            template
        };
        let connection = grant.connection.map(|node| compile(node, report));
        let database = grant.database.map(|node| compile(node, report));
        let mut secrets = Vec::new();
        for secret in &grant.secrets {
            self.granted_secret(secret, &mut secrets, report);
        }
        if let (Some(first), Some((Access::Read, _))) = (grant.secrets.first(), &grant.access) {
            report.add(
                Fault::new(
                    "recipe::grant",
                    &first.span,
                    format!("{name} names secrets, but gives only `read`"),
                )
                .hint("secrets are put in where something is written: \"access\": \"write\""),
            );
        }
        GrantTemplate { raw: grant, connection, database, secrets }
    }

    /// The secrets behind a name in a grant: a url may stand for more than one.
    fn granted_secret(&self, secret: &Text, out: &mut Vec<String>, report: &mut Report<'_>) {
        if let Some(parts) = self.values.parts.get(&secret.value) {
            out.extend(parts.iter().cloned());
            return;
        }
        if self.values.input_of_secret(&secret.value).is_some() {
            out.push(secret.value.clone());
            return;
        }
        match self.specs.iter().find(|spec| spec.name == secret.value) {
            // A url without credentials, or one that isn't given yet.
            Some(spec) if spec.kind.is_confidential() => {}
            Some(spec) => report.add(
                Fault::new(
                    "recipe::unknown-secret",
                    &secret.span,
                    format!("input `{}` is of type {} and no secret", secret.value, spec.kind.name()),
                )
                .hint("leave it out: only secrets are granted"),
            ),
            None => {
                let secrets = self.specs.iter().filter(|spec| spec.kind.is_confidential());
                report.add(
                    Fault::new(
                        "recipe::unknown-secret",
                        &secret.span,
                        format!("there is no secret `{}`", secret.value),
                    )
                    .hint_opt(suggest(
                        &secret.value,
                        secrets.map(|spec| spec.name.as_str()).collect::<Vec<_>>(),
                    )),
                );
            }
        }
    }

    pub fn grant(
        &self,
        template: &GrantTemplate<'_>,
        plugin: Option<&PluginInfo>,
        item: Option<&Json>,
        unknown_item: bool,
        report: &mut Report<'_>,
    ) -> Option<Grant> {
        let raw = template.raw;
        let text = |template: &Template, report: &mut Report<'_>| {
            let evaluated = self.evaluate(template, item, unknown_item);
            evaluated.failures.iter().for_each(|failure| report.add(failure.fault()));
            evaluated.known().cloned()
        };
        let database = match (&template.database, raw.database) {
            (Some(template), Some(node)) => match text(template, report)? {
                Json::String(name) if !name.is_empty() => Some(name),
                Json::Null => None,
                _ => {
                    report.add(Fault::new(
                        "recipe::grant",
                        &node.span,
                        format!("`database` of the grant of slot `{}` must be a name", raw.slot.value),
                    ));
                    return None;
                }
            },
            _ => None,
        };
        let (value, node) = (text(template.connection.as_ref()?, report)?, raw.connection?);
        let name = match value {
            Json::String(name) => name,
            other => {
                report.add(Fault::new(
                    "recipe::grant",
                    &node.span,
                    format!("`connection` must be the name of a connection, not {}", describe(&other)),
                ));
                return None;
            }
        };
        let Some((_, kind)) = self.connections.iter().find(|(known, _)| *known == name) else {
            let hint = if self.connections.is_empty() {
                Some(format!(
                    "declare it: \"connections\": {{ \"{name}\": {{ \"kind\": \"postgres\", \"url\": \"${{inputs.…}}\" }} }}"
                ))
            } else {
                suggest(&name, self.connections.iter().map(|(name, _)| name.as_str()))
            };
            report.add(
                Fault::new(
                    "recipe::unknown-connection",
                    &node.span,
                    format!("there is no connection `{name}`"),
                )
                .hint_opt(hint),
            );
            return None;
        };
        let kind = (*kind)?;
        let slot = plugin?.manifest.slots.iter().find(|slot| slot.name.as_str() == raw.slot.value)?;
        if slot.kind != kind {
            let fitting: Vec<&str> = self
                .connections
                .iter()
                .filter(|(_, kind)| *kind == Some(slot.kind))
                .map(|(name, _)| name.as_str())
                .collect();
            let hint = if fitting.is_empty() {
                format!("declare a connection of kind {}", slot.kind.name())
            } else {
                format!("of kind {}: {}", slot.kind.name(), fitting.join(", "))
            };
            report.add(
                Fault::new(
                    "recipe::connection-kind",
                    &node.span,
                    format!(
                        "slot `{}` takes a {} connection, and `{name}` is of kind {}",
                        slot.name,
                        slot.kind.name(),
                        kind.name()
                    ),
                )
                .hint(hint),
            );
            return None;
        }
        if let (Some(_), Some(node), true) = (&database, raw.database, kind != ConnectionKind::Postgres) {
            report.add(
                Fault::new(
                    "recipe::grant",
                    &node.span,
                    format!("connection `{name}` of kind {} has no databases", kind.name()),
                )
                .hint("leave `database` out"),
            );
        }
        Some(Grant {
            slot: SlotName::new(raw.slot.value.as_str()),
            connection: ConnectionName::new(name),
            kind,
            access: raw.access.as_ref()?.0,
            database,
            secrets: template.secrets.clone(),
        })
    }
}
