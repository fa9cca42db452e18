//! Puts the events of a stream together from its frames.

use std::mem;

use super::{
    lines::Piece,
    scanner::{Line, Scanner},
    tap::{Event, Tapped},
};

/// Reads the events of a stream, in any pieces.
///
/// The [`Scanner`] knows where an event ends. Here is kept what it consists of, as far as that came
/// in an earlier piece than its end.
#[derive(Debug)]
pub(super) struct Events {
    scanner: Scanner,
    /// An event whose lines are longer is not put together.
    max_bytes: u64,
    /// How long the lines of the event under way are that are over. Comments and what ends a line
    /// are nothing.
    bytes: u64,
    /// How long the line is that is under way.
    line_bytes: u64,
    /// The same line, as far as earlier pieces have it; nothing if it is too long.
    line: Vec<u8>,
    /// The type of the event under way, if an earlier piece has it.
    event: Vec<u8>,
    /// The data of the event under way that earlier pieces have, an LF after each line.
    data: Vec<u8>,
    /// The last id.
    id: String,
}

/// What of the event under way lies in one stretch of memory, and need not be kept yet.
#[derive(Clone, Copy, Default)]
struct Here<'a> {
    /// Newer than what was kept.
    event: Option<&'a [u8]>,
    /// All there is so far: no data was kept.
    data: Option<&'a [u8]>,
}

/// A line that means something to an event, and its value.
enum Field<'a> {
    Event(&'a [u8]),
    Data(&'a [u8]),
    Id(&'a [u8]),
    Other,
}

/// So much memory is held for the next event that has to be put together.
const HELD: usize = 1024;

impl Events {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            scanner: Scanner::new(),
            max_bytes: max_bytes as u64,
            bytes: 0,
            line_bytes: 0,
            line: Vec::new(),
            event: Vec::new(),
            data: Vec::new(),
            id: String::new(),
        }
    }

    /// Reads on, and tells of each event that ends within these bytes.
    #[inline(never)]
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Tapped<'_>)) {
        let mut here = Here::default();
        while let Some(step) = self.scanner.step(&mut bytes) {
            match step.line {
                Line::Comment => {}
                Line::Empty => self.end_event(&mem::take(&mut here), step.dispatches, &mut tell),
                _ => self.take(step.piece, &mut here),
            }
        }
        self.keep(here);
    }

    /// Takes the next part of a field's line.
    #[inline]
    fn take<'a>(&mut self, piece: Piece<'a>, here: &mut Here<'a>) {
        let Piece { text, ends_line } = piece;
        if ends_line && self.line_bytes == 0 {
            self.end_line(text, text.len() as u64, here);
            return;
        }
        self.line_bytes += text.len() as u64;
        if self.line_bytes <= self.max_bytes {
            self.line.extend_from_slice(text);
        } else {
            self.line = Vec::new();
        }
        if ends_line {
            let bytes = mem::take(&mut self.line_bytes);
            let mut line = mem::take(&mut self.line);
            // It began in earlier bytes. So nothing before it is in these.
            let mut here = Here::default();
            self.end_line(&line, bytes, &mut here);
            self.keep(here);
            empty(&mut line);
            self.line = line;
        }
    }

    /// Takes a line that is over, and was so long. If that is too long, it need not be all of it.
    #[inline]
    fn end_line<'a>(&mut self, line: &'a [u8], bytes: u64, here: &mut Here<'a>) {
        self.bytes += bytes;
        match Field::of(line) {
            Field::Id(id) if bytes <= self.max_bytes => self.set_id(id),
            _ if self.bytes > self.max_bytes => {
                *here = Here::default();
                self.event = Vec::new();
                self.data = Vec::new();
            }
            Field::Event(event) => here.event = Some(event),
            Field::Data(data) if here.data.is_none() && self.data.is_empty() => {
                here.data = Some(data);
            }
            Field::Data(data) => {
                let first = here.data.take();
                first
                    .into_iter()
                    .chain([data])
                    .for_each(|it| self.keep_data(it));
            }
            Field::Id(_) | Field::Other => {}
        }
    }

    /// Takes a blank line.
    #[inline]
    fn end_event(&mut self, here: &Here<'_>, dispatches: bool, tell: &mut impl FnMut(Tapped<'_>)) {
        let bytes = mem::take(&mut self.bytes);
        if dispatches {
            if bytes > self.max_bytes {
                tell(Tapped::Skipped { bytes });
            } else {
                let kept = self.data.strip_suffix(b"\n").unwrap_or_default();
                let data = String::from_utf8_lossy(here.data.unwrap_or(kept));
                let event = String::from_utf8_lossy(here.event.unwrap_or(&self.event));
                tell(Tapped::Event(Event {
                    event: if event.is_empty() { "message" } else { &event },
                    id: &self.id,
                    data: &data,
                }));
            }
        }
        empty(&mut self.event);
        empty(&mut self.data);
    }

    /// Keeps what would not be there any more when it is needed.
    #[inline]
    fn keep(&mut self, here: Here<'_>) {
        if let Some(event) = here.event {
            self.event.clear();
            self.event.extend_from_slice(event);
        }
        if let Some(data) = here.data {
            self.keep_data(data);
        }
    }

    fn keep_data(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
        self.data.push(b'\n');
    }

    fn set_id(&mut self, id: &[u8]) {
        if !id.contains(&0) {
            if self.id.capacity() > HELD {
                self.id = String::new();
            }
            self.id.clear();
            self.id.push_str(&String::from_utf8_lossy(id));
        }
    }
}

impl<'a> Field<'a> {
    fn of(line: &'a [u8]) -> Self {
        let value = |name: &[u8]| match line.strip_prefix(name)? {
            [] => Some(&line[..0]),
            [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
            _ => None,
        };
        value(b"data")
            .map(Self::Data)
            .or_else(|| value(b"event").map(Self::Event))
            .or_else(|| value(b"id").map(Self::Id))
            .unwrap_or(Self::Other)
    }
}

/// Empties it, and lets go of its memory if that is much.
fn empty(text: &mut Vec<u8>) {
    if text.capacity() > HELD {
        *text = Vec::new();
    } else {
        text.clear();
    }
}
