//! A file that is renamed to `name.1` when it has reached its size, `name.1` to `name.2` and so on. A line is never
//! torn over two files. It refuses nothing later on: where renaming fails, the file grows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The writer.
pub(super) struct Rotating {
    path: PathBuf,
    file: File,
    written: u64,
    size: u64,
    keep: usize,
}

impl Rotating {
    /// Opens `path` for appending; keeps `keep` older files of at most `size` bytes.
    pub(super) fn open(path: &Path, size: u64, keep: usize) -> io::Result<Self> {
        let file = append(path)?;
        let written = file.metadata()?.len();
        Ok(Rotating { path: path.into(), file, written, size, keep })
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.keep == 0 {
            self.file.set_len(0)?;
        } else {
            for number in (1..self.keep).rev() {
                // A gap in the numbers is nothing to fail for.
                std::fs::rename(self.numbered(number), self.numbered(number + 1)).ok();
            }
            std::fs::rename(&self.path, self.numbered(1))?;
            self.file = append(&self.path)?;
        }
        self.written = 0;
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for Rotating {
    /// Takes whole lines: the caller hands over one at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.written > 0 && self.written + line.len() as u64 > self.size {
            self.rotate().ok();
        }
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_rotated_by_size_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.log");
        let mut log = Rotating::open(&path, 10, 2).unwrap();
        for line in ["first\n", "second\n", "third\n", "fourth\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(names(dir.path()), ["w.log", "w.log.1", "w.log.2"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "fourth\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("w.log.2")).unwrap(), "second\n");
    }

    #[test]
    fn an_existing_file_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.log");
        std::fs::write(&path, "before\n").unwrap();
        Rotating::open(&path, 100, 1).unwrap().write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
    }
}
