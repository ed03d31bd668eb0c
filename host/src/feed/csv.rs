//! Rows of a CSV file as JSON objects of texts: what a number is, the transform knows better. Quotes, line breaks within
//! quotes and CRLF are as in RFC 4180; every row has as many fields as the header.

use std::io::BufRead;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::Value;

use super::file::{Input, name};
use super::{Outlet, Record, Trouble, utf8};

/// Most fields of a row.
const MOST_FIELDS: usize = 10_000;
/// The byte order mark.
const MARK: &str = "\u{feff}";

/// How a file is written.
#[derive(Clone, Debug)]
pub struct Dialect {
    pub delimiter: u8,
    /// Names of the columns, for files without a header.
    pub columns: Option<Vec<String>>,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { delimiter: b',', columns: None }
    }
}

/// Reads to the end of the file.
pub(super) fn read(mut reader: Box<dyn BufRead + Send>, input: &Input, out: &Outlet) -> Result<(), Trouble> {
    // The parser would take a piece of nothing but the byte order mark for the end.
    if reader.fill_buf().map_err(|cause| input.failed(&cause))?.starts_with(MARK.as_bytes()) {
        reader.consume(MARK.len());
    }
    let mut rows = Rows {
        csv: ReaderBuilder::new().delimiter(input.csv.delimiter).build(),
        reader,
        input,
        bytes: vec![0; 4096],
        ends: vec![0; 64],
        number: 0,
    };
    let columns = match &input.csv.columns {
        Some(columns) => columns.clone(),
        None => match rows.next()? {
            Some(mut names) => {
                if let Some(first) = names.first_mut() {
                    *first = first.trim_start_matches(MARK).to_owned();
                }
                names
            }
            None => return Ok(()),
        },
    };
    rows.number = 0;
    while let Some(fields) = rows.next()? {
        if rows.number <= input.after {
            continue;
        }
        if fields.len() != columns.len() {
            let (has, wants) = (fields.len(), columns.len());
            return Err(rows.wrong(&format!("has {has} fields, but there are {wants} columns")));
        }
        let value = object(&columns, &fields).into_bytes();
        out.send(Record { value, number: rows.number, ..Record::default() })?;
    }
    Ok(())
}

/// Written by hand: a map of the library would sort its names.
fn object(names: &[String], texts: &[String]) -> String {
    let text = |text: &String| Value::String(text.clone()).to_string();
    let fields: Vec<String> =
        names.iter().zip(texts).map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    format!("{{{}}}", fields.join(","))
}

struct Rows<'a> {
    csv: Reader,
    reader: Box<dyn BufRead + Send>,
    input: &'a Input,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    number: u64,
}

impl Rows<'_> {
    /// The fields of the next row.
    fn next(&mut self) -> Result<Option<Vec<String>>, Trouble> {
        let (mut written, mut fields) = (0, 0);
        loop {
            let input = self.reader.fill_buf().map_err(|cause| self.input.failed(&cause))?;
            let (result, read, wrote, ended) =
                self.csv.read_record(input, &mut self.bytes[written..], &mut self.ends[fields..]);
            self.reader.consume(read);
            (written, fields) = (written + wrote, fields + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.bytes.len() > self.input.longest => {
                    return Err(self.input.too_long("row", self.number + 1));
                }
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() > MOST_FIELDS => {
                    self.number += 1;
                    return Err(self.wrong(&format!("has more than {MOST_FIELDS} fields")));
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        self.number += 1;
        self.texts(fields).map(Some)
    }

    fn texts(&self, fields: usize) -> Result<Vec<String>, Trouble> {
        let mut start = 0;
        let mut texts = Vec::with_capacity(fields);
        for end in &self.ends[..fields] {
            let text =
                utf8(&self.bytes[start..*end]).map_err(|words| self.wrong(&format!("is {words} of its text")))?;
            texts.push(text.to_owned());
            start = *end;
        }
        Ok(texts)
    }

    fn wrong(&self, what: &str) -> Trouble {
        let line = self.csv.line();
        Trouble::Data(format!("row {} of {} (before line {line}) {what}", self.number, name(&self.input.file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::file::Format::Csv;
    use crate::feed::file::testing::{read, read_with, values};

    #[test]
    fn rows_become_objects_in_the_headers_order() {
        let text = "\u{feff}id,name,note\r\n1,\"Simpson, Homer\",\n2,\"a \"\"b\"\"\nc\",007\n";
        let (records, result) = read(Csv, text.as_bytes(), 0);
        assert_eq!(result, Ok(()));
        let expected =
            [r#"{"id":"1","name":"Simpson, Homer","note":""}"#, r#"{"id":"2","name":"a \"b\"\nc","note":"007"}"#];
        assert_eq!(values(&records), expected);
        assert_eq!(read(Csv, text.as_bytes(), 1).0, records[1..]);
        assert_eq!(read(Csv, b"", 0), (vec![], Ok(())));
    }

    #[test]
    fn a_file_without_a_header_takes_its_names_and_its_delimiter_from_the_user() {
        let csv = Dialect { delimiter: b';', columns: Some(vec!["a".into(), "b".into()]) };
        let input = Input { file: "x".into(), format: Csv, after: 0, longest: 100, csv };
        assert_eq!(values(&read_with(input, b"1;2\n").0), [r#"{"a":"1","b":"2"}"#]);
    }

    #[test]
    fn a_row_that_does_not_fit_is_named() {
        for (text, words) in [
            ("a,b\n1,2\n3\n".as_bytes().to_vec(), "row 2 of x (before line 4) has 1 fields, but there are 2 columns"),
            (b"a\n\xff\n".to_vec(), "row 1 of x (before line 3) is not UTF-8 at byte 0"),
            (format!("a\n1\n\"{}\"\n", "x".repeat(9_000)).into_bytes(), "row 2 of x is longer than the 100 bytes"),
            (format!("a\n{}\n", ",".repeat(20_000)).into_bytes(), "has more than 10000 fields"),
        ] {
            let (_, result) = read(Csv, &text, 0);
            assert!(matches!(&result, Err(Trouble::Data(said)) if said.contains(words)), "{words}: {result:?}");
        }
    }
}
