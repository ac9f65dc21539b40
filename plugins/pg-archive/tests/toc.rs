//! Properties of the codec: what was written is read again, and nothing that was damaged makes it fall over.

use godwit_pg_archive::{
    Compressed, Created, Data, Entry, Layout, Section, Toc, Version, read, read_with, write,
};
use proptest::option::of;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Option<String>> {
    of("[ -~äß\n]{0,40}")
}

fn entry(version: Version, layout: Layout) -> impl Strategy<Value = Entry> {
    let data = match layout {
        Layout::Custom => {
            prop_oneof![Just(Data::None), Just(Data::Somewhere), (0_u64..1 << 40).prop_map(Data::At)].boxed()
        }
        Layout::Directory => prop_oneof![Just(Data::None), "[0-9]{1,5}\\.dat".prop_map(Data::File)].boxed(),
    };
    let section = prop_oneof![
        Just(Section::None),
        Just(Section::PreData),
        Just(Section::Data),
        Just(Section::PostData)
    ];
    let access_method = if version >= Version::V1_14 { text().boxed() } else { Just(None).boxed() };
    let relkind = if version >= Version::V1_16 { (0..128).boxed() } else { Just(0).boxed() };
    (
        (any::<bool>(), any::<u32>(), any::<u32>(), text(), "[A-Z ]{1,20}", section, text(), text(), text()),
        (text(), text(), access_method, relkind, text(), any::<bool>()),
        prop::collection::vec(any::<i32>(), 0..5),
        data,
    )
        .prop_map(|(first, second, dependencies, data)| {
            let (had_dumper, catalog, oid, tag, desc, section, definition, drop, copy) = first;
            let (namespace, tablespace, access_method, relkind, owner, with_oids) = second;
            Entry {
                dump_id: 0,
                had_dumper,
                catalog,
                oid,
                tag,
                desc,
                section,
                definition,
                drop,
                copy,
                namespace,
                tablespace,
                access_method,
                relkind,
                owner,
                with_oids,
                dependencies,
                data,
            }
        })
}

fn toc() -> impl Strategy<Value = Toc> {
    let version = (12_u8..=16, 0_u8..2).prop_map(|(minor, revision)| Version { major: 1, minor, revision });
    let layout = prop_oneof![Just(Layout::Custom), Just(Layout::Directory)];
    (version, layout, 4_u8..=8, 5_u8..=8)
        .prop_flat_map(|(version, layout, int_size, offset_size)| {
            let compressed = if version < Version::V1_15 {
                (-1_i32..10).prop_map(Compressed::Level).boxed()
            } else {
                prop_oneof![
                    Just(Compressed::None),
                    Just(Compressed::Gzip),
                    Just(Compressed::Lz4),
                    Just(Compressed::Zstd)
                ]
                .boxed()
            };
            let created = prop::array::uniform7(any::<i32>());
            let entries = prop::collection::vec(entry(version, layout), 0..6);
            (
                Just((version, layout, int_size, offset_size)),
                compressed,
                created,
                text(),
                text(),
                text(),
                entries,
            )
        })
        .prop_map(|(head, compressed, created, database, server_version, dump_version, mut entries)| {
            let (version, layout, int_size, offset_size) = head;
            let [second, minute, hour, day, month, year, daylight_saving] = created;
            let created = Created { second, minute, hour, day, month, year, daylight_saving };
            for (number, entry) in entries.iter_mut().enumerate() {
                entry.dump_id = i32::try_from(number * 7 + 1).expect("small");
            }
            Toc {
                version,
                int_size,
                offset_size,
                layout,
                compressed,
                created,
                database,
                server_version,
                dump_version,
                entries,
            }
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read_again(toc in toc(), more in prop::collection::vec(any::<u8>(), 0..9)) {
        let mut bytes = write(&toc).expect("it can be written");
        let length = bytes.len();
        bytes.extend(more);
        prop_assert_eq!(read(&bytes), Ok((toc, length)));
    }

    #[test]
    fn every_truncation_is_told(toc in toc()) {
        let bytes = write(&toc).expect("it can be written");
        for length in 0..bytes.len() {
            let fault = read(&bytes[..length]).expect_err("it is cut off");
            prop_assert!(fault.is_truncation(), "{} of {}: {}", length, bytes.len(), fault);
            prop_assert!(fault.offset <= length);
        }
    }

    #[test]
    fn flipped_bytes_give_a_fault_or_a_table_that_can_be_written(toc in toc(), at in any::<prop::sample::Index>(), with in 1_u8..) {
        let mut bytes = write(&toc).expect("it can be written");
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        match read(&bytes) {
            // Whatever can be read can be written and read again: nothing was made up. A size that was flipped may be too
            // small for the numbers that are written, but then it says so.
            Ok((other, _)) => {
                if let Ok(again) = write(&other) {
                    prop_assert_eq!(read(&again).map(|(toc, _)| toc), Ok(other));
                }
            }
            Err(fault) => prop_assert!(fault.offset <= bytes.len(), "{}", fault),
        }
    }

    #[test]
    fn any_bytes_are_no_archive(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut headed = b"PGDMP\x01\x0e\x00\x04\x08\x01".to_vec();
        headed.extend(&bytes);
        let _ = read(&headed);
        prop_assert!(read(&bytes).is_err());
    }
}

fn small() -> Toc {
    let mut toc = Toc::new(Version::V1_14, Layout::Directory);
    toc.entries.push(Entry::new(1, "SCHEMA", "app", Section::PreData));
    toc
}

#[test]
fn a_text_in_another_encoding_is_the_callers_to_decode() {
    let mut bytes = write(&small()).expect("it can be written");
    let at = bytes.windows(3).position(|window| window == b"app").expect("the tag") + 1;
    bytes[at] = 0xe9;
    let (toc, length) = read_with(&bytes, |text| {
        assert_eq!((text.field, text.entry, text.bytes), ("the tag", Some(0), b"a\xe9p".as_slice()));
        Ok("aép".to_owned())
    })
    .expect("it is decoded");
    assert_eq!((toc.entries[0].tag.as_deref(), length), (Some("aép"), bytes.len()));
    let fault = read_with(&bytes, |_| Err((1, "is no text".to_owned()))).expect_err("it isn't decoded");
    assert_eq!(fault.to_string(), format!("the tag at byte {at} is no text (entry 1)"));
}

#[test]
fn a_fault_names_the_field_its_place_and_its_entry() {
    let mut bytes = write(&small()).expect("it can be written");
    let at = bytes.windows(6).position(|window| window == b"SCHEMA").expect("the description");
    bytes[at] = 0xff;
    let fault = read(&bytes).expect_err("no UTF-8");
    assert_eq!(fault.to_string(), format!("the description at byte {at} isn't UTF-8 (entry 1)"));
    let fault = read(b"PGDMP\x01\x11\x00").expect_err("from the future");
    assert_eq!(fault.to_string(), "the version at byte 5 is 1.17; 1.12 to 1.16 can be read (header)");
    assert_eq!(
        read(b"PGD").expect_err("short").to_string(),
        "it ends within the magic word at byte 0 (header)"
    );
    let fault = read(b"--\n-- PostgreSQL").expect_err("a script");
    assert_eq!(fault.to_string(), "the magic word at byte 0 isn't `PGDMP` (header)");
}

#[test]
fn a_length_beyond_the_file_is_not_believed() {
    let mut bytes = write(&small()).expect("it can be written");
    let at = bytes.windows(6).position(|window| window == b"SCHEMA").expect("the description");
    bytes[at - 4..at].copy_from_slice(&i32::MAX.to_le_bytes());
    let fault = read(&bytes).expect_err("2 GiB");
    assert!(fault.is_truncation() && fault.field == "the description", "{fault}");
}

#[test]
fn two_entries_with_one_id_are_refused() {
    let mut toc = small();
    toc.entries.push(Entry::new(1, "SCHEMA", "b", Section::PreData));
    let fault = read(&write(&toc).expect("it can be written")).expect_err("one id twice");
    assert!(fault.to_string().contains("the dump id"), "{fault}");
    assert_eq!(fault.entry, Some(1));
}

#[test]
fn what_a_version_cannot_say_is_not_written() {
    let mut toc = small();
    toc.compressed = Compressed::Zstd;
    assert!(write(&toc).is_err());
    toc.version = Version::V1_15;
    assert!(write(&toc).is_ok());
    toc.entries[0].data = Data::At(5);
    assert!(write(&toc).is_err());
    toc.layout = Layout::Custom;
    assert!(write(&toc).is_ok());
    toc.version = Version { major: 1, minor: 11, revision: 0 };
    assert!(write(&toc).is_err());
}
