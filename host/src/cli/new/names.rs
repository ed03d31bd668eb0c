//! What a transform may be called: its name becomes a package, a function, a file, a flow and part of a consumer group.

/// Longest name; the group and the topics made of it stay far below Kafka's limit.
const LONGEST: usize = 64;
/// Names that are no names of functions, or that cargo keeps for itself.
const TAKEN: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else enum \
                     examples extern false final fn for gen if impl in incremental let loop macro match mod move mut \
                     override priv proc_macro pub ref return self static std struct super test trait true try type \
                     typeof unsafe unsized use virtual wasmill_sdk where while yield";

/// Says what is wrong with a name, and which one would do.
pub(super) fn check(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let wrong = match name {
        "" => "a name must not be empty".to_owned(),
        _ if name.len() > LONGEST => format!("a name has at most {LONGEST} characters"),
        _ if !name.starts_with(|c: char| c.is_ascii_lowercase()) => {
            format!("{name:?} does not begin with a small letter")
        }
        _ if !name.chars().all(fits) => format!("{name:?} has other characters than small letters, digits, - and _"),
        _ if name.ends_with(['-', '_']) => format!("{name:?} ends with - or _"),
        _ if TAKEN.split(' ').any(|taken| taken == name.replace('-', "_")) => {
            format!("{name:?} is a word of Rust or cargo")
        }
        _ => return Ok(()),
    };
    Err(match suggestion(name) {
        Some(better) => format!("{wrong}; try: wasmill new {better}"),
        None => format!("{wrong}; a name is like `orders-clean`"),
    })
}

fn suggestion(name: &str) -> Option<String> {
    // Somebody gave a path where the name goes.
    let last = name.rsplit('/').next().unwrap_or(name);
    let mut better = String::new();
    for c in last.chars().take(LONGEST) {
        match c {
            c if c.is_ascii_uppercase() && better.ends_with(|l: char| l.is_ascii_lowercase()) => {
                better.push('-');
                better.push(c.to_ascii_lowercase());
            }
            c if c.is_ascii_alphanumeric() => better.push(c.to_ascii_lowercase()),
            _ if !better.is_empty() && !better.ends_with('-') => better.push('-'),
            _ => {}
        }
    }
    let better = better.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-').to_owned();
    let better = if TAKEN.split(' ').any(|taken| taken == better) { format!("{better}-records") } else { better };
    (!better.is_empty() && better != name).then_some(better)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_that_work_everywhere_are_taken() {
        for name in ["quotes", "log-data", "a1", "x_y"] {
            assert_eq!(check(name), Ok(()));
        }
    }

    #[test]
    fn other_names_are_refused_with_one_that_does() {
        for (name, better) in [
            ("Quotes", "wasmill new quotes"),
            ("myTransform", "wasmill new my-transform"),
            ("a b/c d", "wasmill new c-d"),
            ("loop", "wasmill new loop-records"),
            ("1st", "wasmill new st"),
            ("ends-", "wasmill new ends"),
            ("../evil", "wasmill new evil"),
            ("", "like `orders-clean`"),
            ("…", "like `orders-clean`"),
        ] {
            let words = check(name).expect_err(name);
            assert!(words.ends_with(better), "{name}: {words}");
        }
        assert!(check(&"x".repeat(65)).is_err());
    }
}
