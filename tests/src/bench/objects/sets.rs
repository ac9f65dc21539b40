//! What is copied.

use bytes::Bytes;
use godwit_lab::s3::pattern::Pattern;
use godwit_lab::s3::{Generated, S3Server, zeros};
use md5::{Digest, Md5};

/// The bucket at either end.
pub const BUCKET: &str = "bench";

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Of the large object, as it is said to have been uploaded.
const PART: usize = 8 * MIB;

/// Objects to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// 10,000 of 4 to 64 KiB and 20 of 50 MiB.
    Mixed,
    /// 100,000 of 1 KiB.
    Tiny,
    /// One of 5 GiB.
    Large,
    /// The mixed set, all there already.
    Done,
    /// 10 million keys on both sides, which nobody stores; nothing to do.
    Listing,
}

/// One of them: a key that needs no encoding, and how many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub len: usize,
}

impl Set {
    pub const ALL: [Self; 5] = [Self::Mixed, Self::Tiny, Self::Large, Self::Done, Self::Listing];

    pub fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Tiny => "tiny",
            Self::Large => "large",
            Self::Done => "done",
            Self::Listing => "listing",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Mixed => "10,000 objects of 4 to 64 KiB, 20 of 50 MiB",
            Self::Tiny => "100,000 objects of 1 KiB",
            Self::Large => "one object of 5 GiB",
            Self::Done => "nothing to do: the mixed set is there",
            Self::Listing => "nothing to do: 10 million keys on both sides",
        }
    }

    /// One in `share` of the objects, at least one of each kind, in the order of their numbers.
    pub fn items(self, share: usize) -> Vec<Item> {
        let all = |count: usize| 0..(count / share).max(1);
        match self {
            Self::Mixed | Self::Done => {
                let small = all(10_000).map(|n| Item {
                    key: format!("small/{:02}/{n:06}.jpg", n % 50),
                    // Every size between the two comes up, in no order.
                    len: 4 * KIB + n.wrapping_mul(40_503) % (60 * KIB + 1),
                });
                let large = all(20).map(|n| Item { key: format!("large/{n:06}.bin"), len: 50 * MIB });
                small.chain(large).collect()
            }
            Self::Tiny => all(100_000)
                .map(|n| Item { key: format!("tiny/{:03}/{n:07}.json", n % 500), len: KIB })
                .collect(),
            Self::Large => {
                vec![Item { key: "large.bin".to_owned(), len: (5 * 1024 * MIB / share).max(2 * PART) }]
            }
            // Nobody's hands hold them.
            Self::Listing => Vec::new(),
        }
    }

    /// How many keys of a listing that nobody stores.
    pub fn keys(share: usize) -> u64 {
        10_000_000 / share as u64
    }

    /// The content of them all.
    pub fn content(self, items: &[Item]) -> Content {
        match self {
            // In memory that nobody has touched: what is copied isn't compressed anywhere.
            Self::Large => Content::Zeros,
            _ => Content::Pattern(Pattern::new(items.iter().map(|item| item.len).max().unwrap_or(0))),
        }
    }

    /// Puts them all into the bench's bucket, behind the server's door.
    pub fn fill(self, server: &S3Server, share: usize) -> Result<(), String> {
        let said = |e: godwit_lab::LabError| e.to_string();
        if self == Self::Listing {
            return server.generate(BUCKET, Generated::new(Self::keys(share))).map_err(said);
        }
        let items = self.items(share);
        let content = self.content(&items);
        server.create_bucket(BUCKET).map_err(said)?;
        for (number, item) in items.iter().enumerate() {
            let bytes = content.object(number, item.len);
            if self == Self::Large {
                server.put_uploaded(BUCKET, &item.key, bytes, &etag_of_zeros(item.len)).map_err(said)?;
                continue;
            }
            let headers = [("content-type", "application/octet-stream")];
            server.put(BUCKET, &item.key, bytes, &headers).map_err(said)?;
        }
        Ok(())
    }
}

/// What objects are made of.
pub enum Content {
    Pattern(Pattern),
    Zeros,
}

impl Content {
    /// That of an item by its number and length.
    pub fn object(&self, number: usize, len: usize) -> Bytes {
        match self {
            Self::Pattern(pattern) => pattern.object(number, len),
            Self::Zeros => zeros(len),
        }
    }
}

/// The ETag of so many zeros that were uploaded in parts of one size.
fn etag_of_zeros(len: usize) -> String {
    let digest = |len: usize| Md5::digest(zeros(len));
    let (whole, rest) = (digest(PART), len % PART);
    let mut digests: Vec<u8> = std::iter::repeat_n(whole, len / PART).flatten().collect();
    if rest > 0 {
        digests.extend(digest(rest));
    }
    let all: String = Md5::digest(&digests).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{all}-{}", len.div_ceil(PART))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_they_say() {
        let mixed = Set::Mixed.items(1);
        assert_eq!(mixed.len(), 10_020);
        let small = &mixed[..10_000];
        assert!(small.iter().all(|item| (4 * KIB..=64 * KIB).contains(&item.len)));
        let keys: std::collections::BTreeSet<&str> = mixed.iter().map(|item| item.key.as_str()).collect();
        assert_eq!(keys.len(), mixed.len());
        assert_eq!(Set::Mixed.items(1_000_000).len(), 2);
        assert_eq!(Set::Large.items(1)[0].len, 5 << 30);
        assert!(etag_of_zeros(5 << 30).ends_with("-640"));
        assert!(etag_of_zeros(PART + 1).ends_with("-2"));
    }
}
