//! The plugins and recipes that come with Godwit, embedded.
//!
//! The build script compiles every plugin crate of the workspace for `wasm32-wasip2`, so that a plain `cargo build` or
//! `cargo install` gives a binary that needs no other file.

include!(concat!(env!("OUT_DIR"), "/bundle.rs"));

/// A plugin that comes with Godwit.
#[derive(Clone, Copy, Debug)]
pub struct Bundled {
    /// The name by which a recipe calls it: the name of its folder.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

/// A recipe that comes with Godwit.
#[derive(Clone, Copy, Debug)]
pub struct BundledRecipe {
    /// The name of its folder.
    pub name: &'static str,
    /// `recipe.json`.
    pub text: &'static str,
    /// `README.md`.
    pub readme: &'static str,
    /// Every other file, sorted by path: an example `.env` and the like.
    pub files: &'static [BundledFile],
}

/// A file that comes with a recipe, or with the kit.
#[derive(Clone, Copy, Debug)]
pub struct BundledFile {
    /// Relative to the recipe's folder, `/`-separated.
    pub path: &'static str,
    pub bytes: &'static [u8],
}

/// The kit for plugins of one's own: the files of `plugins/sdk` and `wit`, to be laid out as their paths say.
pub fn kit() -> &'static [BundledFile] {
    KIT
}

/// All plugins, sorted by name.
pub fn plugins() -> &'static [Bundled] {
    PLUGINS
}

/// The plugin with this name.
pub fn plugin(name: &str) -> Option<&'static Bundled> {
    PLUGINS.iter().find(|plugin| plugin.name == name)
}

/// All recipes, sorted by name.
pub fn recipes() -> &'static [BundledRecipe] {
    RECIPES
}

/// The recipe with this name.
pub fn recipe(name: &str) -> Option<&'static BundledRecipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_is_a_component_under_its_own_name() {
        assert!(!plugins().is_empty());
        assert!(plugins().is_sorted_by_key(|plugin| plugin.name));
        for bundled in plugins() {
            // The header of a component, not of a core module (component model, Binary.md).
            assert!(bundled.bytes.starts_with(b"\0asm\x0d\0\x01\0"), "{}", bundled.name);
            assert!(plugin(bundled.name).is_some());
        }
        assert!(plugin("sdk").is_none() && plugin("bundle").is_none());
    }

    /// A path of the machine in a plugin would give the same source another digest elsewhere.
    #[test]
    fn no_plugin_names_a_folder_of_this_machine() {
        let root = env!("CARGO_MANIFEST_DIR").trim_end_matches("/plugins/bundle").as_bytes();
        for bundled in plugins() {
            assert!(!bundled.bytes.windows(root.len()).any(|window| window == root), "{}", bundled.name);
        }
    }

    #[test]
    fn recipes_are_found_by_name() {
        for bundled in recipes() {
            assert!(!bundled.text.trim().is_empty(), "recipes/{}/recipe.json is empty", bundled.name);
            assert!(
                !bundled.readme.trim().is_empty(),
                "recipes/{}/README.md is missing or empty",
                bundled.name
            );
            assert_eq!(recipe(bundled.name).map(|r| r.text), Some(bundled.text));
        }
        assert!(recipe("no-such-recipe").is_none());
    }
}
