//! Values of a type, as PostgreSQL reads them in.

use super::catalog::Kind;
use super::random::Random;

/// Pieces of text with what tends to go wrong on the way: quotes, backslashes, control characters, `\.`, several
/// scripts, characters outside of the basic plane, combining marks.
const WORDS: [&str; 24] = [
    "alpha",
    "Beta",
    "gamma-delta",
    "O'Hara",
    "\"quoted\"",
    "back\\slash",
    "tab\there",
    "line\nbreak",
    "\\N",
    "\\.",
    "naïve",
    "Straße",
    "Ελλάδα",
    "журавль",
    "渡り鳥",
    "🐦",
    "e\u{301}",
    "%s",
    "{a,b}",
    "NULL",
    "$1",
    "a|b",
    "0x00",
    "CR\rLF",
];

/// A text that a column of this type takes; `long` admits texts and bytes that are stored out of line. `None` for a type
/// that isn't known here.
pub fn text(kind: &Kind, random: &mut Random, long: bool) -> Option<String> {
    if let Some(element) = &kind.element {
        return array(element, random);
    }
    if !kind.labels.is_empty() {
        return random.pick(&kind.labels).cloned();
    }
    let limit = usize::try_from(kind.modifier - 4).ok();
    Some(match kind.name.as_str() {
        "bool" => ["true", "false"][usize::from(random.once_in(2))].to_owned(),
        "int2" => integer(random, i64::from(i16::MAX)),
        "int4" => integer(random, i64::from(i32::MAX)),
        "int8" => integer(random, i64::MAX),
        "oid" => random.below(1 << 32).to_string(),
        "float4" => float(random, &["0", "-0", "0.1", "NaN", "3.4028235e+38", "1e-45"]),
        "float8" => float(random, &["0", "-0", "0.1", "NaN", "1.7976931348623157e+308", "5e-324"]),
        "numeric" => numeric(kind.modifier, random),
        "money" => format!("{}.{:02}", random.below(1 << 40), random.below(100)),
        "text" | "varchar" | "bpchar" | "citext" => words(random, limit, long),
        "name" => words(random, Some(20), false),
        "char" => char::from(b'a' + random.below(26) as u8).to_string(),
        "bytea" => bytes(random, long),
        "date" => match random.below(60) {
            0 => "infinity".to_owned(),
            1 => format!("{} BC", day(random)),
            _ => day(random),
        },
        "time" => time(random),
        "timetz" => format!("{}{:+03}:30", time(random), random.below(24) as i64 - 12),
        "timestamp" => moment(random, ""),
        "timestamptz" => {
            let zone = format!("{:+03}", random.below(24) as i64 - 12);
            moment(random, &zone)
        }
        "interval" => format!("{} mons {} days {}", random.below(40), random.below(90), time(random)),
        "uuid" => {
            let hex = format!("{:016x}{:016x}", random.next(), random.next());
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        "json" | "jsonb" => json(random, 2),
        "inet" => {
            ["192.0.2.7", "192.0.2.0/24", "2001:db8::1", "2001:db8::/32"][random.below(4) as usize].to_owned()
        }
        "cidr" => format!("192.0.2.{}/32", random.below(256)),
        "macaddr" => format!("02:00:00:00:{:02x}:{:02x}", random.below(256), random.below(256)),
        "bit" => bits(random, u64::try_from(kind.modifier).unwrap_or(1)),
        "varbit" => {
            let most = u64::try_from(kind.modifier).unwrap_or(40);
            let count = random.below(most + 1);
            bits(random, count)
        }
        "tsvector" => format!("'bird':{} 'o''hara':{}A 'far'", 1 + random.below(9), 1 + random.below(9)),
        "tsquery" => "'bird' & !'cat' | 'far':*".to_owned(),
        "point" => point(random),
        "lseg" | "box" => format!("({},{})", point(random), point(random)),
        "int4range" | "int8range" | "numrange" => {
            let low = random.below(1000);
            format!("[{low},{})", low + 1 + random.below(50))
        }
        "daterange" => format!("[2001-01-{:02},2001-02-{:02})", 1 + random.below(28), 1 + random.below(28)),
        "tsrange" | "tstzrange" => format!("[2001-01-{:02},)", 1 + random.below(28)),
        "vector" => {
            let numbers: Vec<String> =
                (0..kind.modifier.max(1)).map(|_| format!("0.{}", 1 + random.below(999))).collect();
            format!("[{}]", numbers.join(","))
        }
        _ => return None,
    })
}

/// Never negative: columns of counts tend to be checked.
fn integer(random: &mut Random, most: i64) -> String {
    let bound = match random.below(8) {
        0 => return random.below(2).to_string(),
        1 => return most.to_string(),
        2..=4 => 1000,
        _ => most.unsigned_abs(),
    };
    random.below(bound).to_string()
}

fn float(random: &mut Random, special: &[&str]) -> String {
    if random.once_in(5)
        && let Some(value) = random.pick(special)
    {
        return (*value).to_owned();
    }
    format!("{}.{}e{}", random.below(10), random.below(1 << 30), random.below(40) as i64 - 20)
}

/// PostgreSQL sources, numeric.c: the modifier is precision << 16 | scale, plus 4; scale has 11 bits with a sign.
fn numeric(modifier: i32, random: &mut Random) -> String {
    let Ok(packed) = u64::try_from(modifier - 4) else {
        return format!("{}.{}", random.next(), random.next());
    };
    let (precision, scale) = (packed >> 16, packed & 0x7ff);
    let (digits, scale) =
        if scale > 1000 { (precision, 0) } else { (precision.saturating_sub(scale), scale) };
    let mut digit = |count| (0..count).map(|_| char::from(b'0' + random.below(10) as u8)).collect::<String>();
    format!("0{}.{}", digit(digits), digit(scale)).trim_end_matches('.').to_owned()
}

fn words(random: &mut Random, limit: Option<usize>, long: bool) -> String {
    let count = match random.below(40) {
        0 if long => 2000,
        1 => 0,
        _ => 1 + random.below(8),
    };
    let mut text = String::new();
    for number in 0..count {
        if number > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[random.below(WORDS.len() as u64) as usize]);
        if random.once_in(2) {
            text.push_str(&random.below(1 << 40).to_string());
        }
    }
    match limit {
        // Short ones are keys and codes as a rule: letters and digits, so that enough of them differ.
        Some(limit) if limit <= 16 => {
            let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
            let count = 1 + random.below(limit as u64);
            (0..count).map(|_| char::from(letters[random.below(36) as usize])).collect()
        }
        Some(limit) => text.chars().take(limit).collect(),
        None => text,
    }
}

fn bytes(random: &mut Random, long: bool) -> String {
    let count = if long && random.once_in(40) { 10_000 } else { random.below(60) };
    let hex: String = (0..count).map(|_| format!("{:02x}", random.below(256))).collect();
    format!("\\x{hex}")
}

fn day(random: &mut Random) -> String {
    let year = if random.once_in(10) { 1 + random.below(9998) } else { 1990 + random.below(40) };
    format!("{year:04}-{:02}-{:02}", 1 + random.below(12), 1 + random.below(28))
}

fn moment(random: &mut Random, zone: &str) -> String {
    let era = match random.below(60) {
        0 => return "-infinity".to_owned(),
        1 => " BC",
        _ => "",
    };
    format!("{} {}{zone}{era}", day(random), time(random))
}

fn time(random: &mut Random) -> String {
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    format!("{hour:02}:{minute:02}:{second:02}.{:06}", random.below(1_000_000))
}

fn point(random: &mut Random) -> String {
    format!("({},{}.5)", random.below(1000), random.below(1000))
}

fn bits(random: &mut Random, count: u64) -> String {
    (0..count).map(|_| if random.once_in(2) { '1' } else { '0' }).collect()
}

fn json(random: &mut Random, depth: u32) -> String {
    let scalar = |random: &mut Random| match random.below(5) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => integer(random, i64::MAX),
        3 => "1.50".to_owned(),
        _ => serde_json::Value::from(words(random, None, false)).to_string(),
    };
    if depth == 0 || random.once_in(6) {
        return scalar(random);
    }
    if random.once_in(3) {
        let items: Vec<String> = (0..random.below(4)).map(|_| json(random, depth - 1)).collect();
        return format!("[{}]", items.join(", "));
    }
    // A key twice: json keeps both, jsonb the last.
    let items: Vec<String> = ["b", "a", "a", "ключ"]
        .iter()
        .take(random.below(5) as usize)
        .map(|key| format!("\"{key}\": {}", json(random, depth - 1)))
        .collect();
    format!("{{{}}}", items.join(", "))
}

fn array(element: &Kind, random: &mut Random) -> Option<String> {
    let mut items = Vec::new();
    for _ in 0..random.below(4) {
        if random.once_in(6) {
            items.push("NULL".to_owned());
            continue;
        }
        let item = text(element, random, false)?;
        items.push(format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    Some(format!("{{{}}}", items.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_precision() {
        let mut random = Random::new(1, "numeric");
        for _ in 0..100 {
            let text = numeric(((7 << 16) | 2) + 4, &mut random);
            let (whole, part) = text.split_once('.').expect("a scale of 2");
            assert_eq!((whole.len(), part.len()), (6, 2), "{text}");
        }
    }

    #[test]
    fn texts_keep_to_their_length() {
        let mut random = Random::new(1, "varchar");
        for limit in [1, 3, 16, 17, 40] {
            for _ in 0..100 {
                assert!(words(&mut random, Some(limit), true).chars().count() <= limit);
            }
        }
    }

    #[test]
    fn a_type_that_is_not_known_has_no_value() {
        let kind = Kind { name: "xml".into(), modifier: -1, labels: Vec::new(), element: None };
        assert_eq!(text(&kind, &mut Random::new(1, ""), false), None);
    }
}
