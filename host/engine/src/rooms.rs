//! What a run is put together from.

use std::sync::Arc;

use async_trait::async_trait;
use godwit_model::Result;
use godwit_model::capability::{ArchiveReads, Capability, FileReads, ObjectReads, PostgresReads};
use godwit_model::effect::CapabilityName;
use godwit_model::journal::Journal;
use godwit_model::plugin::{ConnectionKind, Plugin};

use crate::observer::Observer;

/// Where plugins come from, by the name that a recipe uses.
#[async_trait]
pub trait Plugins: Send + Sync {
    async fn load(&self, name: &str) -> Result<Arc<dyn Plugin>>;
}

/// The capabilities of one run, connected to what its recipe names.
#[derive(Clone)]
pub struct Capabilities {
    pub files: Arc<dyn Capability>,
    pub postgres: Arc<dyn Capability>,
    pub objects: Arc<dyn Capability>,
    pub file_reads: Arc<dyn FileReads>,
    pub postgres_reads: Arc<dyn PostgresReads>,
    pub archive_reads: Arc<dyn ArchiveReads>,
    pub object_reads: Arc<dyn ObjectReads>,
}

impl Capabilities {
    pub(crate) fn named(&self, name: CapabilityName) -> &Arc<dyn Capability> {
        match name {
            CapabilityName::Files => &self.files,
            CapabilityName::Postgres => &self.postgres,
            CapabilityName::Objects => &self.objects,
        }
    }

    pub(crate) fn for_kind(&self, kind: ConnectionKind) -> &Arc<dyn Capability> {
        self.named(capability_of(kind))
    }
}

/// The capability that serves a kind of connection.
pub(crate) fn capability_of(kind: ConnectionKind) -> CapabilityName {
    match kind {
        ConnectionKind::Dir => CapabilityName::Files,
        ConnectionKind::Postgres => CapabilityName::Postgres,
        ConnectionKind::S3 => CapabilityName::Objects,
    }
}

/// Everything a run needs of the rest of the house.
#[derive(Clone)]
pub struct Rooms {
    pub journal: Arc<dyn Journal>,
    pub capabilities: Capabilities,
    pub plugins: Arc<dyn Plugins>,
    pub observer: Arc<dyn Observer>,
}
