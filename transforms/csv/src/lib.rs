//! CSV lines become rows.
//!
//! A record holds one line or many, of `sensor,at,celsius,note`. Fields may be quoted (`"a, ""b"""`), an empty field is
//! NULL, lines end in LF or CRLF. A header line is skipped. One wrong line refuses the whole record and is named by its
//! number: what a sender gets wrong once is wrong everywhere.

use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
#[table(name = "readings")]
struct Reading {
    sensor: String,
    #[table(timestamptz)]
    at: String,
    /// As text: its digits are passed on as they stand.
    #[table(numeric)]
    celsius: Option<String>,
    note: Option<String>,
}

#[transform(topics = ["readings_csv"], postgres = [Reading], examples = ["s1,2026-01-02T03:04:05Z,20.50," => 1])]
pub fn csv(record: &Record, out: &mut Outputs) -> Result<()> {
    for (number, line) in record.text()?.lines().enumerate() {
        if line.is_empty() || (number == 0 && line.starts_with("sensor,")) {
            continue;
        }
        let wrong = |what: &str| Error::reject(format!("line {}: {what}", number + 1));
        let fields = fields(line).ok_or_else(|| wrong("a quote is not closed"))?;
        let Ok([sensor, at, celsius, note]) = <[String; 4]>::try_from(fields) else {
            return Err(wrong("not four fields"));
        };
        if sensor.is_empty() || at.is_empty() {
            return Err(wrong("sensor and time must not be empty"));
        }
        if !celsius.is_empty() && celsius.parse::<f64>().is_err() {
            return Err(wrong("the temperature is not a number"));
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        out.postgres(&Reading { sensor, at, celsius: some(celsius), note: some(note) })?;
    }
    Ok(())
}

/// The fields of a line; `None` where a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::csv;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<csv>(env!("CARGO_MANIFEST_DIR"));
    }
}
