//! The text format of COPY: fields between tabs, a row per line, `\N` for NULL.
//!
//! PostgreSQL manual, "COPY", section "Text Format". A raw tab or line feed never stands within a field, so rows and
//! fields are found without looking at escapes.

/// NULL as COPY writes it by default.
pub const NULL: &[u8] = b"\\N";

/// Appends the value that a field stands for; the field isn't NULL.
pub fn decode(field: &[u8], out: &mut Vec<u8>) {
    let mut rest = field;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let Some((first, after)) = rest.split_first() else {
            // COPY never ends a field so; kept as it is.
            out.push(b'\\');
            return;
        };
        let (byte, length) = match first {
            b'b' => (0x08, 1),
            b'f' => (0x0c, 1),
            b'n' => (b'\n', 1),
            b'r' => (b'\r', 1),
            b't' => (b'\t', 1),
            b'v' => (0x0b, 1),
            b'0'..=b'7' => number(rest, 8, 3),
            b'x' if after.first().is_some_and(u8::is_ascii_hexdigit) => {
                let (byte, digits) = number(after, 16, 2);
                (byte, digits + 1)
            }
            other => (*other, 1),
        };
        out.push(byte);
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
}

/// The number that the leading digits write, of which there is one at least, and how many there are.
fn number(text: &[u8], radix: u32, most: usize) -> (u8, usize) {
    let digits = text.iter().take(most).map_while(|byte| char::from(*byte).to_digit(radix));
    let (value, count) = digits.fold((0, 0), |(value, count), digit| (value * radix + digit, count + 1));
    // As the server does: three octal digits wrap at a byte.
    ((value & 0xff) as u8, count)
}

/// Whether a byte of a value is written as an escape: 0x08 to 0x0d, all of which have one, and the backslash.
fn is_escaped(byte: u8) -> bool {
    byte.wrapping_sub(0x08) < 6 || byte == b'\\'
}

/// Whether a text is its own field, and each byte of it a character: ASCII without escapes.
pub fn is_plain(text: &[u8]) -> bool {
    !text.iter().fold(false, |any, byte| any | !byte.is_ascii() | is_escaped(*byte))
}

/// Appends the field that stands for a value.
pub fn encode(value: &[u8], out: &mut Vec<u8>) {
    // Hardly any value has one. All bytes are looked at, without a branch, which the compiler turns into vectors.
    if !value.iter().fold(false, |any, byte| any | is_escaped(*byte)) {
        out.extend_from_slice(value);
        return;
    }
    for byte in value {
        let escape = match byte {
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            b'\\' => b'\\',
            _ => {
                out.push(*byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escape]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(field: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decode(field, &mut out);
        out
    }

    #[test]
    fn reads_every_escape_of_the_manual() {
        assert_eq!(decoded(br"a\b\f\n\r\t\v\\z"), b"a\x08\x0c\n\r\t\x0b\\z");
        assert_eq!(decoded(br"\101\7\x41\x4g\q\."), b"A\x07A\x04gq.");
        assert_eq!(decoded(br"\xg"), b"xg");
        assert_eq!(decoded(b"\\"), b"\\");
    }

    #[test]
    fn writes_an_escape_for_what_has_one_and_for_nothing_else() {
        for byte in 0..=u8::MAX {
            let mut field = Vec::new();
            encode(&[b'a', byte], &mut field);
            assert_eq!(is_escaped(byte), b"\x08\t\n\x0b\x0c\r\\".contains(&byte), "{byte}");
            assert_eq!(field.len(), if is_escaped(byte) { 3 } else { 2 }, "{byte}");
            assert_eq!(is_plain(&[b'a', byte]), byte < 128 && field == [b'a', byte], "{byte}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut field = Vec::new();
            encode(&value, &mut field);
            prop_assert!(!field.contains(&b'\t') && !field.contains(&b'\n'));
            prop_assert_ne!(field.as_slice(), NULL);
            prop_assert_eq!(decoded(&field), value);
        }
    }
}
