//! The files of one log: the current one and its older ones `.1`, `.2` and so on. Names, identities and safe opening;
//! it never changes a file's content.
//!
//! A rotation shifts names from the oldest file to the newest, so for a moment one name may be missing, and a walk over
//! the names may meet a file twice: files are told apart by [`FileId`].

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::Error;

/// What stays the same when a file gets another name, and is its own as long as the file is held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(meta: &Metadata) -> FileId {
        FileId {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}

/// The name of the file that was rotated away so many times: `shop.log.2`; the log itself for 0.
pub(super) fn older(path: &Path, times: u32) -> PathBuf {
    if times == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{times}"));
    PathBuf::from(name)
}

/// Opens a regular file; a link, a pipe or anything else in its place is refused, and never waited for.
pub(super) fn open_regular(path: &Path, options: &mut OpenOptions) -> Result<(File, Metadata), Error> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let file = options
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    Ok((file, meta))
}

/// One file of a log, open for reading.
pub(super) struct LogPart {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) id: FileId,
}

impl LogPart {
    /// None when there is no such file.
    pub(super) fn open(path: PathBuf) -> Result<Option<LogPart>, Error> {
        match open_regular(&path, OpenOptions::new().read(true)) {
            Ok((file, meta)) => Ok(Some(LogPart {
                id: FileId::of(&meta),
                path,
                file,
            })),
            Err(Error::Open { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Bytes in the file now.
    pub(super) fn len(&self) -> Result<u64, Error> {
        Ok(self.metadata()?.len())
    }

    fn is_deleted(&self) -> Result<bool, Error> {
        Ok(self.metadata()?.nlink() == 0)
    }

    fn metadata(&self) -> Result<Metadata, Error> {
        self.file.metadata().map_err(|source| self.unreadable(source))
    }

    /// So many bytes from `offset` on; fewer only at the end of the file.
    pub(super) fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, Error> {
        let mut block = Vec::with_capacity(bytes);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(bytes as u64).read_to_end(&mut block))
            .map_err(|source| self.unreadable(source))?;
        Ok(block)
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        Error::Read {
            path: self.path.clone(),
            source,
        }
    }
}

/// The files of a log as they stood at one moment.
pub(super) struct Parts {
    /// None when there is none, or when a rotation is just about to create it.
    pub(super) current: Option<LogPart>,
    /// All of them are older than the current one. The newest comes first.
    pub(super) older: Vec<LogPart>,
}

/// More rotations than a writer can do during as many walks over a log's files.
const WALKS_MAX: usize = 16;

impl Parts {
    /// Opens the files of the log at `path`; of the older ones those that are newer than the first for which `known`
    /// holds.
    pub(super) fn open(path: &Path, known: impl Fn(&LogPart) -> Result<bool, Error>) -> Result<Parts, Error> {
        let mut walks = 1;
        loop {
            let current = LogPart::open(path.to_owned())?;
            let older = older_parts(path, &known)?;
            let rotated = match &current {
                Some(current) => current.is_deleted()? || older.iter().any(|part| part.id == current.id),
                None => false,
            };
            // Where the current file was rotated away during the walk, some of the others are newer.
            if !rotated || walks == WALKS_MAX {
                return Ok(Parts { current, older });
            }
            walks += 1;
        }
    }
}

fn older_parts(path: &Path, known: impl Fn(&LogPart) -> Result<bool, Error>) -> Result<Vec<LogPart>, Error> {
    let mut parts: Vec<LogPart> = Vec::new();
    let mut missing = false;
    for times in 1.. {
        match LogPart::open(older(path, times))? {
            Some(part) if known(&part)? => break,
            Some(part) => {
                missing = false;
                if !parts.iter().any(|met| met.id == part.id) {
                    parts.push(part);
                }
            }
            None if missing => break,
            None => missing = true,
        }
    }
    Ok(parts)
}
