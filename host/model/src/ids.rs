//! Newtypes for identifiers, so that a step's id is never taken for an effect's key.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Takes the text as it is; validation belongs to the recipe checker.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// One execution of a recipe: `yyyymmdd-hhmmss-xxxx`, unique in a journal and in every target's marker schema.
    RunId
}
name! {
    /// One use of a plugin in a recipe; `id[key]` for a step made by `foreach`.
    StepId
}
name! {
    /// A named outside thing of a recipe.
    ConnectionName
}
name! {
    /// The name under which a plugin knows a connection.
    SlotName
}
name! {
    /// Names an effect, unique and stable within its step.
    EffectKey
}
name! {
    /// The name of an input of a recipe.
    InputName
}
name! {
    /// The name a plugin gives itself in its manifest.
    PluginName
}
name! {
    /// A SHA-256 digest as 64 lower-case hexadecimal digits.
    Digest
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(&Sha256::digest(bytes)))
    }

    /// A digest that was folded elsewhere.
    pub fn from_sha256(sum: [u8; 32]) -> Self {
        Self(hex(&sum))
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
