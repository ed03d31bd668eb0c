//! A file or standard input: lines, JSON or CSV. Lines, elements and rows are bounded in length, so that a wrong file
//! does not fill the memory.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{About, Outlet, Resume, Source, Trouble, csv, json, lines};

/// How a file is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Each line that is not empty, as it is.
    Lines,
    /// Each element of a JSON array, or each of several JSON values, byte for byte.
    Json,
    /// Each row as a JSON object of texts, named by the header.
    Csv,
}

impl Format {
    /// By the name's extension; everything else has lines.
    pub fn of(file: &Path) -> Format {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            _ => Format::Lines,
        }
    }
}

/// What to read and how.
#[derive(Clone, Debug)]
pub struct Input {
    pub file: PathBuf,
    pub format: Format,
    /// Lines, elements or rows to leave out: those that were fed before.
    pub after: u64,
    /// Longest record in bytes.
    pub longest: usize,
    pub csv: csv::Dialect,
}

/// A file that is open.
pub struct File {
    input: Input,
    reader: Box<dyn BufRead + Send>,
}

impl File {
    /// Opened before anything is connected: a wrong name is said at once.
    pub fn open(input: Input) -> Result<Self, Trouble> {
        let reader = open(&input.file)?;
        Ok(File { input, reader })
    }
}

impl Source for File {
    fn about(&self) -> About {
        let unit = match self.input.format {
            Format::Lines => "line",
            Format::Json => "element",
            Format::Csv => "row",
        };
        About { name: name(&self.input.file), unit, resume: Resume::Number, endless: false }
    }

    fn run(self: Box<Self>, out: &Outlet) -> Result<(), Trouble> {
        let File { input, reader } = *self;
        match input.format {
            Format::Lines => lines::read(reader, &input, out),
            Format::Json => json::read(reader, &input, out),
            Format::Csv => csv::read(reader, &input, out),
        }
    }
}

impl Input {
    pub(super) fn failed(&self, cause: &std::io::Error) -> Trouble {
        Trouble::Data(format!("could not read {}: {cause}", name(&self.file)))
    }

    pub(super) fn too_long(&self, unit: &str, number: u64) -> Trouble {
        Trouble::Data(format!(
            "{unit} {number} of {} is longer than the {} bytes that one record may have; raise message.max.bytes in \
             [kafka.properties] and the topic's max.message.bytes, or check that the file has {unit}s at all",
            name(&self.file),
            self.longest
        ))
    }
}

/// The file as people call it.
pub(super) fn name(file: &Path) -> String {
    match file.as_os_str() == "-" {
        true => "standard input".into(),
        false => file.display().to_string(),
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead + Send>, Trouble> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, std::io::stdin())));
    }
    let opened = std::fs::File::open(file).and_then(|opened| match opened.metadata()?.is_dir() {
        true => Err(std::io::Error::other("it is a directory")),
        false => Ok(opened),
    });
    match opened {
        Ok(opened) => Ok(Box::new(BufReader::with_capacity(1 << 20, opened))),
        Err(cause) => Err(Trouble::Data(format!("could not open {}: {cause}; name a file, or -", file.display()))),
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::io::Cursor;

    use super::*;
    use crate::feed::{Event, Record};
    use crate::shutdown::Shutdown;

    /// What a text becomes in a format.
    pub(crate) fn read(format: Format, text: &[u8], after: u64) -> (Vec<Record>, Result<(), Trouble>) {
        read_with(Input { file: "x".into(), format, after, longest: 100, csv: csv::Dialect::default() }, text)
    }

    pub(crate) fn read_with(input: Input, text: &[u8]) -> (Vec<Record>, Result<(), Trouble>) {
        let (events, received) = crossbeam_channel::unbounded();
        let outlet = Outlet::new(events, Shutdown::new());
        // Small steps find what is cut at the wrong place.
        let reader = Box::new(BufReader::with_capacity(3, Cursor::new(text.to_vec())));
        let result = Box::new(File { input, reader }).run(&outlet);
        drop(outlet);
        let records = received.iter().map(|event| match event {
            Event::Record(record) => record,
            Event::Note(words) => panic!("{words}"),
        });
        (records.collect(), result)
    }

    pub(crate) fn values(records: &[Record]) -> Vec<String> {
        records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_from_the_name() {
        let formats = ["a.json", "b.csv", "c.jsonl", "d", "-"].map(|name| Format::of(Path::new(name)));
        assert_eq!(formats, [Format::Json, Format::Csv, Format::Lines, Format::Lines, Format::Lines]);
    }

    #[test]
    fn a_missing_file_and_a_folder_are_named() {
        let input = |file: &str| Input {
            file: file.into(),
            format: Format::Lines,
            after: 0,
            longest: 1,
            csv: csv::Dialect::default(),
        };
        for (file, words) in [("/nowhere/at all", "/nowhere/at all"), ("/", "it is a directory")] {
            let trouble = File::open(input(file)).map(|_| ()).expect_err("it cannot be read");
            assert!(matches!(&trouble, Trouble::Data(said) if said.contains(words)), "{trouble:?}");
        }
    }
}
