//! Streams to read: of any bytes, mostly such as matter, in any pieces.

use proptest::{collection::vec, prelude::*};

/// Enough, but for miri.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 3 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What streams are made of: each part may be cut by the next.
const WORDS: [&[u8]; 44] = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\r\r",
    b"\r\n\r\n",
    b"\n\r",
    b":",
    b" ",
    b"  ",
    b"\t",
    b"\0",
    b"x",
    b"data",
    b"data:",
    b"data: ",
    b"data: {\"a\":1}\n",
    b"data\n",
    b"dat",
    b"Data: 1\n",
    b"d",
    b"a",
    b"event",
    b"event: add\n",
    b"event:\n",
    b"id",
    b"id: 7\n",
    b"id:\r\n",
    b"id: a\0b\n",
    b"i",
    b"retry",
    b"retry: 1000\n",
    b": a comment\n",
    b":\n",
    b"field\n",
    b"\xEF\xBB\xBF",
    b"\xEF",
    b"\xBB",
    b"\xBF",
    b"\xC3\xA9",
    b"\xE2\x80\xA6",
    b"\xE2\x80",
    b"\xF0\x9F\x8E",
    b"\xFF",
];

/// A stream, often with a byte order mark at its start.
pub(crate) fn stream() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        12 => proptest::sample::select(&WORDS[..]).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => vec(Just(b'x'), 0..100),
    ];
    let lead = prop_oneof![
        3 => Just(&b""[..]),
        1 => Just(&b"\xEF\xBB\xBF"[..]),
    ];
    (lead, vec(word, 0..24)).prop_map(|(lead, words)| [lead, &words.concat()].concat())
}

/// How long each piece is; over and over again.
pub(crate) fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![
        4 => 0..4_usize,
        1 => 0..100_usize,
    ];
    // One at least that is not zero: else there is no end.
    vec(length, 0..6).prop_map(|mut lengths| {
        lengths.push(1);
        lengths
    })
}

/// The stream in pieces.
pub(crate) fn pieces<'a>(
    mut stream: &'a [u8],
    lengths: &[usize],
) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        if stream.is_empty() {
            return None;
        }
        let length = *lengths.next()?;
        let (piece, rest) = stream.split_at(length.min(stream.len()));
        stream = rest;
        Some(piece)
    })
}
