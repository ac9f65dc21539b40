//! Recipes from the outside: what is refused and how it is said, what comes of what is good.

mod checked;
mod common;
mod diagnostics;
mod fuzz;
mod schema;
