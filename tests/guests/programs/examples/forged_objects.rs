//! Loads large objects from where it was granted nothing, as its params tell (`{ "how": "source" }`).

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::godwit::plugin::archive::{self, Block, Compression, ObjectsFile, RowsFile};
use common::godwit::plugin::effects;
use common::{Check, ConnectionKind, Error, Guest, Manifest};

struct Step;

fn file(slot: &str, path: &str) -> ObjectsFile {
    let file = RowsFile { slot: slot.to_owned(), path: path.to_owned(), compression: Compression::None };
    ObjectsFile { file, block: None }
}

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest(
            "forged-objects",
            &[("files", ConnectionKind::Dir), ("db", ConnectionKind::Postgres)],
        )
    }

    fn apply(params: String) -> Result<String, Error> {
        let ours = || file("files", "blobs.toc");
        let (sources, sink) = match params.split('"').nth(3).unwrap_or_default() {
            "honest" => (vec![ours()], "db"),
            "source" => (vec![file("someone-elses", "blobs.toc")], "db"),
            "further source" => (vec![ours(), file("someone-elses", "blobs.toc")], "db"),
            "further kind" => (vec![ours(), file("db", "blobs.toc")], "db"),
            "sink" => (vec![ours()], "someone-elses"),
            "kind of sink" => (vec![ours()], "files"),
            "outside" => (vec![file("files", "../outside/blobs.toc")], "db"),
            "further outside" => (vec![ours(), file("files", "../outside/blobs.toc")], "db"),
            "absolute" => (vec![file("files", "/etc/passwd")], "db"),
            "block outside" => {
                let block = Some(Block { dump_id: 1, offset: 0 });
                (vec![ObjectsFile { block, ..file("files", "../outside/blobs.toc") }], "db")
            }
            // A list within the folder that names what isn't.
            "listed outside" => (vec![file("files", "crooked.toc")], "db"),
            other => return Err(Error::Invalid(format!("there is no way {other}"))),
        };
        let effect = archive::load_objects("objects", &sources, sink)?;
        effects::submit(vec![effect])?;
        for outcome in effects::next(1)? {
            outcome.result?;
        }
        Ok("null".to_owned())
    }

    fn verify(_params: String, _outputs: String) -> Result<Vec<Check>, Error> {
        Ok(Vec::new())
    }
}

#[allow(unsafe_code)]
mod export {
    super::common::export!(Step with_types_in super::common);
    use super::Step;
}
