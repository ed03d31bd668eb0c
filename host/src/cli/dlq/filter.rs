//! Which letters are meant.

use crate::config::units::parse_duration;
use crate::sinks::dead_letter::DeadLetter;

#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only this code, such as reject or pg-23505; pg-* stands for all that begin so; may be given again
    #[arg(long)]
    code: Vec<String>,
    /// Only records of this time or later: 2026-01-31T00:00:00Z, milliseconds, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
    /// Only records with this key
    #[arg(long)]
    key: Option<String>,
    /// Only records of this source topic
    #[arg(long)]
    topic: Option<String>,
}

impl Filter {
    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
        let code = letter.code.as_str();
        let is_code = |wanted: &String| match wanted.strip_suffix('*') {
            Some(family) => code.starts_with(family),
            None => code.eq_ignore_ascii_case(wanted),
        };
        (self.code.is_empty() || self.code.iter().any(is_code))
            && self.since.is_none_or(|since| letter.timestamp >= since)
            && self.until.is_none_or(|until| letter.timestamp < until)
            && self.key.as_ref().is_none_or(|key| letter.key.as_deref() == Some(key.as_bytes()))
            && self.topic.as_ref().is_none_or(|topic| *topic == letter.topic)
    }
}

fn time(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let ago =
        parse_duration(text).map_err(|_| "write 2026-01-31T00:00:00Z, milliseconds since 1970, or 2h".to_owned())?;
    Ok(jiff::Timestamp::now().as_millisecond() - i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Code, Headers};

    fn letter(code: &str, timestamp: i64, key: Option<&'static [u8]>) -> DeadLetter {
        DeadLetter {
            id: "f/t/0/7".into(),
            flow: "f".into(),
            topic: "t".into(),
            partition: 0,
            offset: 7,
            timestamp,
            stage: "transform".into(),
            code: Code::from_stored(code.into()),
            message: String::new(),
            module: String::new(),
            sink: String::new(),
            target: String::new(),
            redriven: 0,
            key: key.map(Into::into),
            value: None,
            headers: Headers { count: 0, encoded: Default::default() },
        }
    }

    #[test]
    fn each_condition_holds_by_itself() {
        let all = Filter::default();
        let by = |code: &str| Filter { code: vec![code.into()], ..Filter::default() };
        let one = letter("pg-23505", 100, Some(b"k"));
        for (filter, takes) in [
            (all.clone(), true),
            (by("pg-23505"), true),
            (by("pg-*"), true),
            (by("pg-2"), false),
            (Filter { since: Some(100), until: Some(101), ..all.clone() }, true),
            (Filter { since: Some(101), ..all.clone() }, false),
            (Filter { until: Some(100), ..all.clone() }, false),
            (Filter { key: Some("k".into()), topic: Some("t".into()), ..all.clone() }, true),
            (Filter { key: Some("".into()), ..all.clone() }, false),
            (Filter { topic: Some("u".into()), ..all }, false),
        ] {
            assert_eq!(filter.takes(&one), takes, "{filter:?}");
        }
    }

    #[test]
    fn times_are_points_milliseconds_or_ages() {
        assert_eq!(time("2026-01-31T00:00:00Z"), Ok(1_769_817_600_000));
        assert_eq!(time("42"), Ok(42));
        let (now, hour_ago) = (jiff::Timestamp::now().as_millisecond(), time("1h").unwrap());
        assert!((3_590_000..3_610_000).contains(&(now - hour_ago)));
        assert!(time("soon").is_err());
    }
}
