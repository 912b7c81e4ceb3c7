//! Reads what is added to a log, again and again, for somebody who counts and does not show. It holds no file
//! open between two reads, so that a thousand logs cost no descriptors, and reads no more at a time than it is
//! allowed to: of a flood it skips the older part and says how much.
//!
//! Every line is delivered at most once. Lines are lost where more was written than may be read, or where a file
//! was rotated away altogether in between; that is told.

use std::path::{Path, PathBuf};

use super::Error;
use super::chain::{FileId, LogPart, older};
use super::line::{HEAD_BYTES, Stream, stamp_of, stream_of};
use super::read::BLOCK_BYTES;
use crate::model::units::Stamp;

/// How far the log at one path was read.
#[derive(Debug)]
pub struct Tap {
    path: PathBuf,
    place: Option<Place>,
}

/// A place in a file that is not held open. Its number may be given to a new file, so its first bytes, a stamp,
/// are kept too.
#[derive(Debug)]
struct Place {
    id: FileId,
    first_bytes: Vec<u8>,
    offset: u64,
}

/// One line that multibot captured, as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLine<'a> {
    head: &'a [u8],
    pub stream: Stream,
    pub text: &'a [u8],
}

impl RawLine<'_> {
    /// None where the head is damaged.
    pub fn at(&self) -> Option<Stamp> {
        stamp_of(self.head)
    }
}

/// What one read has left out of what was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    #[default]
    Nothing,
    /// So many bytes, to stay within the budget.
    Bytes(u64),
    /// What was last read is gone, and perhaps more behind it.
    Unknown,
}

const FIRST_BYTES: usize = 27;
/// More rotations in a few seconds than any sensible limit leads to.
const OLDER_MAX: u32 = 8;

impl Tap {
    /// Reads from here on, and of what stands there already so many bytes.
    pub fn new(path: &Path, before: u64) -> Result<Tap, Error> {
        let place = match LogPart::open(path.to_owned())? {
            Some(part) => {
                let offset = part.len()?.saturating_sub(before);
                let mut place = Place::at_start_of(&part)?;
                place.offset = line_start(&part, offset)?;
                Some(place)
            }
            None => None,
        };
        Ok(Tap {
            path: path.to_owned(),
            place,
        })
    }

    /// Delivers the lines that were added since the last time, of `budget` bytes at most; returns what was left out.
    pub fn read(&mut self, budget: u64, mut deliver: impl FnMut(RawLine<'_>)) -> Result<Gap, Error> {
        let Some(newest) = LogPart::open(self.path.clone())? else {
            return Ok(Gap::Nothing);
        };
        let mut gap = Gap::Nothing;
        let mut parts = vec![newest];
        if let Some(place) = &self.place
            && !place.is_in(&parts[0])?
        {
            let mut is_found = false;
            for times in 1..=OLDER_MAX {
                let Some(part) = LogPart::open(older(&self.path, times))? else {
                    break;
                };
                is_found = place.is_in(&part)?;
                parts.push(part);
                if is_found {
                    break;
                }
            }
            // Somebody has written another content, or all that was read is gone.
            if !is_found {
                parts.truncate(1);
                gap = Gap::Unknown;
            }
        }
        // A file that was never seen begins at its start, and so does one that somebody has emptied.
        let mut ranges = Vec::with_capacity(parts.len());
        for part in &parts {
            let len = part.len()?;
            let from = match &self.place {
                Some(place) if place.is_in(part)? && place.offset <= len => place.offset,
                _ => 0,
            };
            ranges.push((from, len));
        }
        if let [(from, len)] = ranges.as_slice()
            && from == len
        {
            return Ok(gap);
        }
        let mut left = budget;
        let mut skipped = 0;
        for (from, len) in &mut ranges {
            let wanted = *len - *from;
            let granted = wanted.min(left);
            skipped += wanted - granted;
            *from = *len - granted;
            left -= granted;
        }
        let last = parts.len() - 1;
        for (index, (part, (from, len))) in parts.iter().zip(ranges).enumerate().rev() {
            let is_cut = index < last || skipped > 0;
            let from = if is_cut && from > 0 {
                line_start(part, from)?
            } else {
                from
            };
            let offset = lines_of(part, from, len, &mut deliver)?;
            if index == 0 {
                let mut place = Place::at_start_of(part)?;
                place.offset = offset;
                self.place = Some(place);
            }
        }
        Ok(match gap {
            Gap::Nothing if skipped > 0 => Gap::Bytes(skipped),
            gap => gap,
        })
    }
}

impl Place {
    fn at_start_of(part: &LogPart) -> Result<Place, Error> {
        Ok(Place {
            id: part.id,
            first_bytes: part.read(0, FIRST_BYTES)?,
            offset: 0,
        })
    }

    fn is_in(&self, part: &LogPart) -> Result<bool, Error> {
        // An empty file has no stamp yet, and stays the same file when it gets one.
        Ok(self.id == part.id && part.read(0, self.first_bytes.len())? == self.first_bytes)
    }
}

/// The first start of a line at or behind `offset`.
fn line_start(part: &LogPart, offset: u64) -> Result<u64, Error> {
    if offset == 0 {
        return Ok(0);
    }
    let block = part.read(offset - 1, BLOCK_BYTES)?;
    let end = block.iter().position(|byte| *byte == b'\n');
    Ok(offset - 1 + end.map_or(block.len(), |end| end + 1) as u64)
}

/// Delivers the whole lines between two offsets; returns where they end.
fn lines_of(part: &LogPart, from: u64, to: u64, deliver: &mut impl FnMut(RawLine<'_>)) -> Result<u64, Error> {
    let mut offset = from;
    let mut block_bytes = BLOCK_BYTES;
    while offset < to {
        let wanted = usize::try_from(to - offset).unwrap_or(block_bytes).min(block_bytes);
        let block = part.read(offset, wanted)?;
        let Some(end) = block.iter().rposition(|byte| *byte == b'\n') else {
            if block.len() < block_bytes {
                break;
            }
            // A foreign line without an end: nothing in it is ours.
            offset += block.len() as u64;
            continue;
        };
        for raw in block[..end].split(|byte| *byte == b'\n') {
            if let Some((head, text)) = raw.split_at_checked(HEAD_BYTES)
                && let Some(stream) = stream_of(head)
            {
                deliver(RawLine { head, stream, text });
            }
        }
        offset += end as u64 + 1;
        block_bytes = BLOCK_BYTES;
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn append(path: &Path, text: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn line(second: i64, text: &str) -> String {
        format!("{} out {text}\n", Stamp(second * 1_000_000))
    }

    fn read(tap: &mut Tap, budget: u64) -> (Vec<String>, Gap) {
        let mut texts = Vec::new();
        let skipped = tap.read(budget, |line| {
            texts.push(String::from_utf8_lossy(line.text).into_owned())
        });
        (texts, skipped.unwrap())
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    const ALL: u64 = 1 << 20;

    #[test]
    fn only_what_is_added_is_read_and_whole_lines_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.log");
        let mut early = Tap::new(&path, 0).unwrap();
        assert_eq!(read(&mut early, ALL), (vec![], Gap::Nothing));
        append(&path, &line(1, "one"));
        append(&path, &line(2, "two"));
        assert_eq!(read(&mut early, ALL), (words("one two"), Gap::Nothing));
        let mut late = Tap::new(&path, 0).unwrap();
        let mut from_two = Tap::new(&path, 40).unwrap();
        append(&path, "2001-01-01T00:00:03.000000Z err thr");
        assert_eq!(read(&mut early, ALL), (vec![], Gap::Nothing));
        append(&path, "ee\nnot of ours\n");
        for tap in [&mut early, &mut late] {
            assert_eq!(read(tap, ALL), (words("three"), Gap::Nothing));
            assert_eq!(read(tap, ALL), (vec![], Gap::Nothing));
        }
        assert_eq!(read(&mut from_two, ALL), (words("two three"), Gap::Nothing));
    }

    #[test]
    fn rotations_lose_nothing_and_a_new_file_is_read_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.log");
        append(&path, &line(1, "one"));
        let mut tap = Tap::new(&path, ALL).unwrap();
        assert_eq!(read(&mut tap, ALL).0, words("one"));
        append(&path, &line(2, "two"));
        fs::rename(&path, older(&path, 1)).unwrap();
        assert_eq!(read(&mut tap, ALL).0, words(""), "between two names there is no log");
        append(&path, &line(3, "three"));
        fs::rename(older(&path, 1), older(&path, 2)).unwrap();
        fs::rename(&path, older(&path, 1)).unwrap();
        append(&path, &line(4, "four"));
        assert_eq!(read(&mut tap, ALL).0, words("two three four"));
        assert_eq!(read(&mut tap, ALL), (vec![], Gap::Nothing));
        fs::write(&path, line(5, "five")).unwrap();
        assert_eq!(
            read(&mut tap, ALL),
            (words("five"), Gap::Unknown),
            "somebody has replaced its content"
        );
        fs::remove_file(&path).unwrap();
        append(&path, &line(6, "six"));
        fs::rename(&path, older(&path, 1)).unwrap();
        append(&path, &line(7, "seven"));
        assert_eq!(
            read(&mut tap, ALL),
            (words("seven"), Gap::Unknown),
            "all that was read was rotated away"
        );
    }

    #[test]
    fn of_a_flood_the_newest_part_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.log");
        let mut tap = Tap::new(&path, 0).unwrap();
        for number in 0..10_000 {
            append(&path, &line(number, &format!("n{number}")));
        }
        let size = fs::metadata(&path).unwrap().len();
        let (texts, skipped) = read(&mut tap, 1000);
        assert_eq!(skipped, Gap::Bytes(size - 1000));
        assert_eq!(texts.last().map(String::as_str), Some("n9999"));
        assert!((20..=28).contains(&texts.len()), "{}", texts.len());
        assert_eq!(read(&mut tap, 1000), (vec![], Gap::Nothing));
        let stamp = Tap::new(&path, 100)
            .unwrap()
            .read(ALL, |line| assert!(line.at().is_some()));
        assert!(stamp.is_ok());
    }
}
