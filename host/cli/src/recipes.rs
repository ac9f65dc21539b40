//! Finding a recipe: a path, or the name of a bundled one.

use std::path::{Path, PathBuf};

use godwit_model::{Error, Result};
use godwit_recipe::Source;

/// A recipe's text and where relative plugin paths of it start.
pub struct Found {
    pub source: Source,
    /// The file, for a recipe that isn't bundled.
    pub path: Option<PathBuf>,
}

/// Reads the recipe that an argument names.
pub fn find(name: &str) -> Result<Found> {
    let path = Path::new(name);
    let looks_like_path = name.contains('/') || name.ends_with(".json");
    if looks_like_path || path.exists() {
        let path = if path.is_dir() { path.join("recipe.json") } else { path.to_owned() };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::invalid(format!("recipe {} can't be read: {error}", path.display()))
                .hint("give the path of a recipe, or the name of a bundled one (`godwit recipe list`)")
        })?;
        return Ok(Found { source: Source::new(path.display().to_string(), text), path: Some(path) });
    }
    match godwit_bundle::recipes().iter().find(|recipe| recipe.name == name) {
        Some(recipe) => Ok(Found { source: Source::new(name, recipe.text), path: None }),
        None => {
            let known: Vec<&str> = godwit_bundle::recipes().iter().map(|recipe| recipe.name).collect();
            Err(Error::invalid(format!("there is no file and no bundled recipe named `{name}`"))
                .hint(format!("bundled recipes: {}", known.join(", "))))
        }
    }
}
