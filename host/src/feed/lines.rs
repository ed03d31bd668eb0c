//! Lines as records: without their end, the empty ones left out, each as long as a record may be.

use std::io::{BufRead, Read as _};

use super::file::Input;
use super::{Outlet, Record, Trouble};

/// Reads to the end of the file.
pub(super) fn read(mut reader: Box<dyn BufRead + Send>, input: &Input, out: &Outlet) -> Result<(), Trouble> {
    let mut line = Vec::new();
    // One more, so that a line that is too long shows, and its two ends.
    let most = input.longest as u64 + 3;
    for number in 1.. {
        if number <= input.after {
            // However long they are: one that was too long may be among them.
            match reader.skip_until(b'\n').map_err(|cause| input.failed(&cause))? {
                0 => break,
                _ => continue,
            }
        }
        line.clear();
        let read = reader.by_ref().take(most).read_until(b'\n', &mut line).map_err(|cause| input.failed(&cause))?;
        if read == 0 {
            break;
        }
        let record = line.strip_suffix(b"\n").unwrap_or(&line);
        let record = record.strip_suffix(b"\r").unwrap_or(record);
        if record.len() > input.longest {
            return Err(input.too_long("line", number));
        }
        if !record.is_empty() {
            out.send(Record { value: record.to_vec(), number, ..Record::default() })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::feed::Trouble;
    use crate::feed::file::Format::Lines;
    use crate::feed::file::testing::{read, values};

    #[test]
    fn lines_come_without_ends_and_empty_ones_not_at_all() {
        let (records, result) = read(Lines, b"{\"a\":1}\n\nnot json\r\n \xc3\xbc \nlast", 0);
        assert_eq!(result, Ok(()));
        assert_eq!(values(&records), ["{\"a\":1}", "not json", " ü ", "last"]);
        assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(values(&read(Lines, b"a\n\nb\nc\n", 2).0), ["b", "c"]);
        assert_eq!(read(Lines, b"a\nb", 7), (vec![], Ok(())));
    }

    #[test]
    fn a_line_is_as_long_as_a_record_and_no_longer() {
        let fits = format!("{}\r\nz", "x".repeat(100));
        assert_eq!(read(Lines, fits.as_bytes(), 0).0.len(), 2);
        for end in ["\r\nz", "\nz", ""] {
            let (records, result) = read(Lines, format!("a\n{}{end}", "x".repeat(101)).as_bytes(), 0);
            assert_eq!(values(&records), ["a"]);
            assert!(matches!(&result, Err(Trouble::Data(words)) if words.contains("line 2 of x")), "{result:?}");
            let behind = read(Lines, format!("a\n{}{end}", "x".repeat(101)).as_bytes(), 2);
            assert_eq!((behind.0.len(), behind.1), (usize::from(!end.is_empty()), Ok(())));
        }
    }
}
