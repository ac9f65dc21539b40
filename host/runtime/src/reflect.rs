//! Reads from a component's type, before anything of it runs, what it exports and what it asks for.

use std::fmt;
use std::str::FromStr;

use godwit_model::plugin::{ConnectionKind, PluginKind};
use godwit_model::{Error, Result};
use wasmtime::Engine;
use wasmtime::component::types::{Component, ComponentItem};

/// The version of the contract, `godwit:plugin@<version>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Three numbers; a pre-release of the contract is none that a plugin may rely on.
    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let mut numbers = text.split('.').map(|part| part.parse().map_err(drop));
        let mut next = || numbers.next().unwrap_or(Err(()));
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if numbers.next().is_some() { Err(()) } else { Ok(version) }
    }
}

/// What a component asks for by its imports: they can't lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// The kinds of connections that the imported capabilities work on.
    pub kinds: Vec<ConnectionKind>,
    /// Every imported interface by its full name, such as `godwit:plugin/files@0.1.0`.
    pub interfaces: Vec<String>,
}

/// The versions of the contract that this Godwit speaks, oldest first.
pub(crate) const SPOKEN: [Version; 1] = [Version::new(0, 1, 0)];

/// The package of the contract.
const PACKAGE: &str = "godwit:plugin";

/// Interfaces that the standard libraries of guests import without being asked. They are linked with an empty context.
const HARMLESS: [&str; 18] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// An interface name taken apart: `package/name@version`.
struct Interface<'a> {
    package: &'a str,
    name: &'a str,
    version: Option<&'a str>,
}

impl<'a> Interface<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let (package, name) = path.split_once('/')?;
        Some(Self { package, name, version })
    }
}

/// Finds the version of the contract and the kind of plugin from the component's exports.
pub(crate) fn abi(plugin: &str, component: &Component, engine: &Engine) -> Result<(Version, PluginKind)> {
    let mut found = Vec::new();
    for (name, _) in component.exports(engine) {
        let Some(interface) = Interface::parse(name).filter(|i| i.package == PACKAGE) else { continue };
        let kind = match interface.name {
            "step" => PluginKind::Step,
            "transform" => PluginKind::Transform,
            _ => continue,
        };
        let version = interface.version.unwrap_or_default();
        let version: Version = version.parse().map_err(|()| {
            Error::plugin(format!(
                "plugin `{plugin}` exports `{name}`, and Godwit can't read the version `{version}`"
            ))
            .hint(format!("build it against a released contract: {}", spoken()))
        })?;
        found.push((version, kind));
    }
    match found.as_slice() {
        [] => Err(Error::plugin(format!(
            "`{plugin}` is a WebAssembly component, but not a Godwit plugin: it exports neither `{PACKAGE}/step` nor \
             `{PACKAGE}/transform`"
        ))
        .hint("build it with the Godwit plugin SDK, or against the WIT package `godwit:plugin`")),
        [(version, kind)] => speaks(plugin, *version).map(|()| (*version, *kind)),
        _ => Err(Error::plugin(format!(
            "plugin `{plugin}` exports more than one of `{PACKAGE}/step` and `{PACKAGE}/transform`"
        ))
        .hint("a plugin is either a step or a transform, of one version: split it into two components")),
    }
}

/// Whether a plugin is too new, too old, or just right.
fn speaks(plugin: &str, version: Version) -> Result<()> {
    if SPOKEN.contains(&version) {
        return Ok(());
    }
    let newest = SPOKEN[SPOKEN.len() - 1];
    Err(if version > newest {
        Error::plugin(format!(
            "plugin `{plugin}` needs version {version} of the plugin contract; this Godwit speaks {newest} at most"
        ))
        .hint("upgrade godwit, or use an older release of the plugin")
    } else {
        Error::plugin(format!(
            "plugin `{plugin}` is too old: it was built for version {version} of the plugin contract"
        ))
        .hint(format!("use a newer release of the plugin, or build it anew: this Godwit speaks {}", spoken()))
    })
}

fn spoken() -> String {
    SPOKEN.map(|version| format!("{PACKAGE}@{version}")).join(", ")
}

/// Gathers what the component imports. Everything that a plugin may not import is named in one error.
pub(crate) fn imports(
    plugin: &str,
    component: &Component,
    engine: &Engine,
    version: Version,
    kind: PluginKind,
) -> Result<Imports> {
    let mut imports = Imports::default();
    let mut refused = Vec::new();
    for (name, item) in component.imports(engine) {
        match item.ty {
            ComponentItem::ComponentInstance(_) => match admit(name, version, kind) {
                Ok(connections) => {
                    // Several interfaces may work on one kind.
                    for connection in connections {
                        if !imports.kinds.contains(connection) {
                            imports.kinds.push(*connection);
                        }
                    }
                    imports.interfaces.push(name.to_owned());
                }
                Err(why) => refused.push(format!("`{name}` ({why})")),
            },
            ComponentItem::Module(_) => refused.push(format!("the core module `{name}`")),
            ComponentItem::Component(_) => refused.push(format!("the component `{name}`")),
            ComponentItem::ComponentFunc(_) | ComponentItem::CoreFunc(_) => {
                refused.push(format!("the function `{name}`"));
            }
            ComponentItem::Type(_) | ComponentItem::Resource(_) => refused.push(format!("the type `{name}`")),
        }
    }
    if refused.is_empty() {
        return Ok(imports);
    }
    Err(Error::new(
        godwit_model::ErrorKind::Denied,
        godwit_model::Fault::Plugin,
        format!("plugin `{plugin}` imports what no plugin may have: {}", refused.join(", ")),
    )
    .hint(
        "a plugin reaches the world through the slots that a recipe grants it; use another plugin, or ask its author \
         to use the interfaces of `godwit:plugin`",
    ))
}

/// The connection kinds that an admitted interface works on, or why it isn't admitted.
fn admit(
    name: &str,
    version: Version,
    kind: PluginKind,
) -> std::result::Result<&'static [ConnectionKind], &'static str> {
    let interface = Interface::parse(name).ok_or("unknown")?;
    if interface.package == PACKAGE {
        if interface.version.and_then(|v| v.parse().ok()) != Some(version) {
            return Err("of another version than its exports");
        }
        // Types are no permission: every component that mentions `error` imports them.
        if interface.name == "types" {
            return Ok(&[]);
        }
        if kind == PluginKind::Transform {
            return Err("a transform is granted nothing");
        }
        return match interface.name {
            "context" | "effects" => Ok(&[]),
            "files" => Ok(&[ConnectionKind::Dir]),
            "postgres" => Ok(&[ConnectionKind::Postgres]),
            "archive" => Ok(&[ConnectionKind::Postgres, ConnectionKind::Dir]),
            "objects" => Ok(&[ConnectionKind::S3]),
            _ => Err("unknown"),
        };
    }
    let path = name.split('@').next().unwrap_or(name);
    let is_preview2 = interface.version.is_some_and(|v| v == "0.2" || v.starts_with("0.2."));
    if HARMLESS.contains(&path) && is_preview2 {
        return Ok(&[]);
    }
    Err(match interface.package {
        "wasi:filesystem" => "the file system",
        "wasi:sockets" | "wasi:http" | "wasi:tls" => "the network",
        package if package.starts_with("wasi:") => "not among the harmless parts of WASI 0.2",
        _ => "unknown",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: Version = Version::new(0, 1, 0);

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!("0.1.0".parse(), Ok(V));
        for bad in ["", "0.1", "0.1.0.0", "0.1.0-rc1", "a.b.c", "-1.0.0"] {
            assert_eq!(bad.parse::<Version>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn too_new_and_too_old_are_two_messages() {
        let new = speaks("p", Version::new(0, 2, 0)).unwrap_err();
        assert!(new.message.contains("needs version 0.2.0"), "{new}");
        assert!(new.hint.unwrap().starts_with("upgrade godwit"));
        let old = speaks("p", Version::new(0, 0, 9)).unwrap_err();
        assert!(old.message.contains("too old"), "{old}");
    }

    #[test]
    fn admits_what_the_contract_and_the_standard_library_need() {
        use PluginKind::{Step, Transform};
        for (name, kind, expect) in [
            ("godwit:plugin/types@0.1.0", Transform, Ok(&[][..])),
            ("godwit:plugin/context@0.1.0", Step, Ok(&[][..])),
            ("godwit:plugin/effects@0.1.0", Step, Ok(&[][..])),
            ("godwit:plugin/files@0.1.0", Step, Ok(&[ConnectionKind::Dir][..])),
            ("godwit:plugin/postgres@0.1.0", Step, Ok(&[ConnectionKind::Postgres][..])),
            ("godwit:plugin/objects@0.1.0", Step, Ok(&[ConnectionKind::S3][..])),
            ("godwit:plugin/context@0.1.0", Transform, Err("a transform is granted nothing")),
            ("godwit:plugin/files@0.1.1", Step, Err("of another version than its exports")),
            ("godwit:plugin/files", Step, Err("of another version than its exports")),
            ("godwit:plugin/archive@0.1.0", Step, Ok(&[ConnectionKind::Postgres, ConnectionKind::Dir][..])),
            ("godwit:plugin/http@0.1.0", Step, Err("unknown")),
            ("wasi:cli/stderr@0.2.6", Step, Ok(&[][..])),
            ("wasi:random/random@0.2.0", Transform, Ok(&[][..])),
            ("wasi:filesystem/types@0.2.6", Step, Err("the file system")),
            ("wasi:sockets/tcp@0.2.0", Step, Err("the network")),
            ("wasi:http/outgoing-handler@0.2.0", Step, Err("the network")),
            ("wasi:cli/run@0.2.0", Step, Err("not among the harmless parts of WASI 0.2")),
            ("wasi:cli/stderr@0.3.0", Step, Err("not among the harmless parts of WASI 0.2")),
            ("wasi:io/poll", Step, Err("not among the harmless parts of WASI 0.2")),
            ("acme:tools/clock@1.0.0", Step, Err("unknown")),
            ("plain-name", Step, Err("unknown")),
        ] {
            assert_eq!(admit(name, V, kind), expect, "{name}");
        }
    }

    /// A component whose only import is the core module `m`.
    const IMPORTS_A_MODULE: [u8; 22] = [
        0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00, // component header
        0x03, 0x03, 0x01, 0x50, 0x00, // core types: one empty module type
        0x0a, 0x07, 0x01, 0x00, 0x01, b'm', 0x00, 0x11, 0x00, // imports: "m", a core module of type 0
    ];

    #[test]
    fn refuses_imported_core_modules() {
        let engine = crate::engine::engine().unwrap();
        let component = wasmtime::component::Component::from_binary(&engine, &IMPORTS_A_MODULE).unwrap();
        let error = imports("p", &component.component_type(), &engine, V, PluginKind::Step).unwrap_err();
        assert!(error.message.contains("the core module `m`"), "{error}");
    }
}
