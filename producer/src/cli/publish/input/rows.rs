//! CSV: rows of fields, unquoted here, since a quoted newline is no end of a row.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::feed::Feed;
use super::{BLOCK_SIZE, Cuts, Input, Pump, ReadResult, Unwanted, read_some};

/// More fields than any table has; a file of nothing but delimiters must not take memory for each.
const FIELDS_MAX: usize = 100_000;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSyntax {
    pub delimiter: u8,
    /// `None`: quotes are nothing special.
    pub quote: Option<u8>,
    /// The first row names the columns; else they are numbered from 1.
    pub header: bool,
}

impl RowSyntax {
    fn reader(self) -> Reader {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(self.delimiter).terminator(Terminator::CRLF);
        match self.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        builder.build()
    }
}

/// The rows of a block: their fields stand one behind the other in its buffer.
#[derive(Debug, Default)]
pub struct Rows {
    /// Where each field ends, counted from its row's beginning.
    ends: Vec<u32>,
    rows: Vec<RowAt>,
}

#[derive(Debug)]
struct RowAt {
    line: u64,
    begin: u32,
    first_field: u32,
}

/// The fields of one row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
}

impl<'a> Row<'a> {
    #[cfg(test)]
    pub const fn of(bytes: &'a [u8], ends: &'a [u32]) -> Self {
        Self { bytes, ends }
    }

    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all fields.
    pub fn size(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    pub fn field(&self, at: usize) -> Option<&'a [u8]> {
        let begin = match at.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)? as usize,
        };
        self.bytes.get(begin..*self.ends.get(at)? as usize)
    }

    pub fn fields(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(move |at| self.field(at).unwrap_or_default())
    }
}

impl Rows {
    const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn push(&mut self, line: u64, row: &Row<'_>, buffer: &mut Vec<u8>) {
        // A block is far smaller than a u32 counts.
        self.rows.push(RowAt { line, begin: buffer.len() as u32, first_field: self.ends.len() as u32 });
        self.ends.extend_from_slice(row.ends);
        buffer.extend_from_slice(row.bytes);
    }

    /// Line and fields of each.
    pub fn iter<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (u64, Row<'a>)> {
        self.rows.iter().enumerate().map(move |(at, row)| {
            let next = self.rows.get(at + 1);
            let bytes_end = next.map_or(bytes.len(), |next| next.begin as usize);
            let fields_end = next.map_or(self.ends.len(), |next| next.first_field as usize);
            let row_bytes = bytes.get(row.begin as usize..bytes_end).unwrap_or_default();
            let ends = self.ends.get(row.first_field as usize..fields_end).unwrap_or_default();
            (row.line, Row { bytes: row_bytes, ends })
        })
    }
}

/// The row that is being read.
struct Open {
    reader: Reader,
    /// Lines that were passed over between rows.
    skipped: u64,
    bytes: Vec<u8>,
    filled: usize,
    ends: Vec<usize>,
    fields: usize,
    row_max: usize,
    line: u64,
    /// Something of it has come.
    begun: bool,
    /// Bytes that were dropped since it is too long.
    dropped: u64,
}

/// What some bytes brought.
enum Step {
    /// The row goes on.
    More,
    /// It is there.
    Row,
    /// It ended, and is too long: so many bytes.
    TooLong(u64),
    TooManyFields,
}

impl Open {
    fn new(syntax: RowSyntax, row_max: usize) -> Self {
        Self {
            reader: syntax.reader(),
            skipped: 0,
            bytes: vec![0; 4096],
            filled: 0,
            ends: vec![0; 64],
            fields: 0,
            row_max,
            line: 1,
            begun: false,
            dropped: 0,
        }
    }

    /// Takes from `input` what belongs to the row; the rest is left.
    fn take(&mut self, input: &mut &[u8]) -> Step {
        if !self.begun {
            let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let (passed, rest) = input.split_at(blank);
            self.skipped += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
            *input = rest;
            if rest.is_empty() {
                return Step::More;
            }
            self.begun = true;
            self.line = self.reader.line() + self.skipped;
            (self.filled, self.fields, self.dropped) = (0, 0, 0);
        }
        loop {
            let (bytes, ends) = (
                self.bytes.get_mut(self.filled..).unwrap_or_default(),
                self.ends.get_mut(self.fields..).unwrap_or_default(),
            );
            let (result, used, new, fields) = self.reader.read_record(input, bytes, ends);
            *input = input.get(used..).unwrap_or_default();
            self.filled += new;
            self.fields += fields;
            if self.filled > self.row_max {
                self.dropped += self.filled as u64;
                self.filled = 0;
            }
            match result {
                ReadRecordResult::InputEmpty => return Step::More,
                ReadRecordResult::OutputFull if self.filled == self.bytes.len() => {
                    self.bytes.resize(self.bytes.len() * 2, 0);
                }
                ReadRecordResult::OutputFull => {}
                ReadRecordResult::OutputEndsFull if self.fields < FIELDS_MAX => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                // From here on the places of the fields no longer matter.
                ReadRecordResult::OutputEndsFull => {
                    self.fields = FIELDS_MAX - 1;
                    self.dropped = self.dropped.max(1);
                }
                ReadRecordResult::Record | ReadRecordResult::End => {
                    self.begun = false;
                    return match self.dropped {
                        0 => Step::Row,
                        _ if self.fields >= FIELDS_MAX => Step::TooManyFields,
                        dropped => Step::TooLong(dropped + self.filled as u64),
                    };
                }
            }
            // To the reader nothing more to read is the end.
            if input.is_empty() {
                return Step::More;
            }
        }
    }
}

impl Pump {
    pub(super) fn read_rows(&mut self, source: usize, from: &mut Feed, syntax: RowSyntax) -> ReadResult {
        let mut input = vec![0; BLOCK_SIZE];
        let mut open = Open::new(syntax, self.record_max);
        let mut ends = Vec::new();
        let mut wants_header = true;
        // A byte order mark, as some spreadsheets write one.
        let mut mark = b"\xef\xbb\xbf".as_slice();
        loop {
            let new = match read_some(from, &mut input) {
                Ok(new) => new,
                Err(error) => return Ok(Err(error)),
            };
            // Behind the last byte a newline closes the last row, unless it stands within quotes.
            let mut rest = if new == 0 { b"\n".as_slice() } else { input.get(..new).unwrap_or_default() };
            while let ([expected, more @ ..], [first, behind @ ..]) = (mark, rest) {
                if expected != first {
                    mark = &[];
                    break;
                }
                (mark, rest) = (more, behind);
            }
            let mut buffer = self.spare.try_recv().unwrap_or_default();
            buffer.clear();
            let mut rows = Rows::default();
            while !rest.is_empty() {
                let step = open.take(&mut rest);
                let (line, why) = match step {
                    Step::More => continue,
                    Step::Row => {
                        ends.clear();
                        // A row is no longer than a batch.
                        ends.extend(open.ends.iter().take(open.fields).map(|end| *end as u32));
                        let row =
                            Row { bytes: open.bytes.get(..open.filled).unwrap_or_default(), ends: &ends };
                        let is_header = wants_header && syntax.header;
                        if wants_header {
                            wants_header = false;
                            let names = if is_header {
                                row.fields().map(<[u8]>::to_vec).collect()
                            } else {
                                (1..=row.len()).map(|number| number.to_string().into_bytes()).collect()
                            };
                            self.send(Input::Header { source, line: open.line, names })?;
                        }
                        if !is_header {
                            rows.push(open.line, &row, &mut buffer);
                        }
                        continue;
                    }
                    Step::TooLong(size) => (open.line, Err(size)),
                    Step::TooManyFields => (open.line, Ok(format!("a row of more than {FIELDS_MAX} fields"))),
                };
                let whole = std::mem::take(&mut rows);
                buffer = self.flush_rows(source, from, buffer, whole)?;
                self.send(no_record(source, line, why))?;
            }
            if new == 0 && open.begun {
                buffer = self.flush_rows(source, from, buffer, rows)?;
                drop(buffer);
                let why = "a quoted field of this row is never closed; --quote none takes quotes as they are"
                    .to_owned();
                self.send(no_record(source, open.line, Ok(why)))?;
                return Ok(Ok(()));
            }
            drop(self.flush_rows(source, from, buffer, rows)?);
            if new == 0 {
                return Ok(Ok(()));
            }
        }
    }

    /// Sends what was gathered; an empty buffer for more.
    fn flush_rows(
        &mut self,
        source: usize,
        from: &Feed,
        buffer: Vec<u8>,
        rows: Rows,
    ) -> Result<Vec<u8>, Unwanted> {
        if rows.is_empty() {
            return Ok(buffer);
        }
        let filled = buffer.len();
        self.send_block(source, from, buffer, filled, Cuts::Rows(rows))?;
        let mut next = self.spare.try_recv().unwrap_or_default();
        next.clear();
        Ok(next)
    }
}

fn no_record(source: usize, line: u64, why: Result<String, u64>) -> Input {
    let line = Some(line);
    match why {
        Ok(why) => Input::NoRecord { source, line, why },
        Err(size) => Input::TooLong { source, line, what: "row", size, at_least: false },
    }
}
