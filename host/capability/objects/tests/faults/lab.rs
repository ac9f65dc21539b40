//! Two servers, and a capability over them that can be made anew.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt as _;
use godwit_lab::s3::Injection;
use godwit_model::Result;
use godwit_model::capability::{Bucketed, Connection, ObjectPair};
use godwit_objects::Objects;

use super::common::*;
use super::rows::{Side, Side::*};

/// Two servers, and a capability over them that can be made anew, as in another process.
pub struct Lab {
    pub rig: Rig,
    pub connections: Vec<Connection>,
}

impl Lab {
    pub async fn new() -> Self {
        let mut connections = Vec::new();
        let make = |given: Vec<Connection>| {
            connections = of_vendor(given, "aws");
            Self::objects(&connections, Duration::from_secs(60))
        };
        let rig = Rig::with_pages(5, make).await;
        Self { rig, connections }
    }

    pub fn objects(connections: &[Connection], silence: Duration) -> Result<Objects> {
        Objects::with_patience(connections.to_vec(), [HELD, 2 * HELD, HELD, 40], silence)
    }

    /// As in another process. Where a server falls silent for good, nobody waits for a minute.
    pub fn restart(&mut self, under: Option<&Injection>) {
        let millis = match under.map(|fault| format!("{fault:?}")) {
            Some(fault) if fault.contains("HalfOpen { millis: None, times: 1 }") => 3000,
            Some(fault) if fault.contains("SwallowAnswer") => 3000,
            Some(fault) if fault.contains("HalfOpen { millis: None") => 200,
            _ => 60_000,
        };
        self.rig.objects = Self::objects(&self.connections, Duration::from_millis(millis)).unwrap();
    }

    pub fn fill(&self, key: &str, content: &[u8]) {
        // What a store that keeps checksums was given once.
        let crc = crc64nvme(content);
        self.rig.source.put("from", key, content.to_vec(), &[("x-amz-checksum-crc64nvme", &crc)]).unwrap();
    }

    pub fn inject(&self, side: Side, fault: Injection) {
        match side {
            Source => self.rig.source.inject(fault),
            Target => self.rig.target.inject(fault),
        }
    }

    pub fn clear(&self) {
        self.rig.source.clear_faults();
        self.rig.target.clear_faults();
    }

    pub fn pair(&self, key: &str) -> ObjectPair {
        let at = |bucket: &str| Bucketed { bucket: bucket.into(), key: key.to_owned() };
        ObjectPair {
            left: (self.rig.grant("source").clone(), at("from")),
            right: (self.rig.grant("target").clone(), at("into")),
        }
    }
}

/// What one request holds; twice as much goes by a single PUT.
pub const HELD: u64 = 64 << 10;

pub const SIZES: [(&str, usize); 3] = [("small", 1000), ("streamed", 100 << 10), ("large", 350 << 10)];

/// Gzip of `hello`.
pub const PACKED: [u8; 25] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0, 0,
    0,
];

/// The content of a key as it was listed. What stands before a dot tells its size.
pub fn original(key: &str) -> Vec<u8> {
    let kind = key.split('.').next().unwrap_or_default();
    bytes(SIZES.iter().find(|(held, _)| *held == kind).expect("a key of ours").1)
}

pub fn crc64nvme(content: &[u8]) -> String {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, content);
    BASE64.encode(sum.to_be_bytes())
}

/// Most of a run is waiting for another attempt.
pub const RUNS_AT_ONCE: usize = 64;

/// Runs all of them, many at once.
pub async fn all(runs: impl Iterator<Item = impl Future<Output = ()>>) {
    futures::stream::iter(runs).buffer_unordered(RUNS_AT_ONCE).collect::<Vec<()>>().await;
}
