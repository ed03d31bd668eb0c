//! The page in a real browser: causes are named, records are seen before and after, buttons do what they say.
//! `WASMILL_SCREENSHOTS=DIR` leaves pictures.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wasmill_tests::browser::Browser;
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::proxy::Proxy;
use wasmill_tests::{Case, Host, guests, samples, wait_until};

fn picture(browser: &Browser, name: &str) {
    if let Some(directory) = std::env::var_os("WASMILL_SCREENSHOTS") {
        browser.screenshot(&Path::new(&directory).join(format!("{name}.png")));
    }
}

/// Runs `steps` while records arrive.
fn under_load(topics: &[&str], steps: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                let values = ["good", "fine", "reject", "trap", "better"];
                for topic in topics {
                    let record = |i: usize| match topic.contains("quotes") {
                        true if i % 40 == 39 => Outgoing::to(topic).value("{\"quote\": 5}"),
                        true => {
                            Outgoing::to(topic).value(samples::quote_json(&format!("quote {}", n + i), "Homer", ""))
                        }
                        false => Outgoing::to(topic).key(format!("k{i}")).value(values[i % 5]),
                    };
                    kafka::produce(&(0..200).map(record).collect::<Vec<_>>());
                }
                n += 200;
                thread::sleep(Duration::from_millis(100));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(steps));
        done.store(true, Ordering::Relaxed);
        load.join().expect("the load was produced");
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// The page's address with the token, as `wasmill page` prints it.
fn address(case: &Case, host: &Host) -> String {
    let printed = wasmill_tests::host::wasmill(&["page", "--admin", &host.address()], case.path(), &case.env);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    printed.stdout.trim().to_owned()
}

#[test]
fn somebody_new_finds_the_causes_and_mends_them() {
    if !Browser::is_installed() {
        return eprintln!("SKIPPED: no chromedriver here: apt-get install chromium chromium-driver");
    }
    let mut case = Case::new("page");
    let (proxy, url) = Proxy::before(&case.database.url);
    case.postgres_url = url;
    let (quotes, numbered) = (case.topic("quotes", 3), case.topic("numbered", 1));
    case.flow(
        "a_numbers",
        &format!("modules = [\"numbered\"]\ntopics = [\"{numbered}\"]\ngroup = \"{}\"", case.named("a")),
    );
    case.flow("b_quotes", &format!("modules = [\"quotes\"]\ntopics = [\"{quotes}\"]\ngroup = \"{}\"", case.named("b")));
    case.env = vec![("XDG_RUNTIME_DIR".into(), case.path().to_string_lossy().into_owned())];
    case.install_as("numbered", &guests::numbered(1));
    case.install("quotes");
    let host = case.start();
    host.ready();
    let browser = Browser::start(1280, 1000);
    under_load(&[&quotes, &numbered], || {
        // Without the token: everything is shown, nothing is changed.
        browser.open(&format!("http://{}/", host.address()));
        browser.wait("document.querySelector('#ready')?.textContent === 'ready'");
        browser.wait("document.querySelectorAll('nav .flow').length === 2");
        browser.open("about:blank");
        browser.open(&address(&case, &host));
        browser.wait("document.querySelectorAll('nav .flow').length === 2");
        assert_eq!(browser.value("location.hash.includes('token')"), false, "the token does not stay in the address");
        browser.click("nav .flow[data-flow=b_quotes]");
        browser.wait("document.querySelector('#flow h2')?.textContent === 'b_quotes'");

        // Before and after, with what changed.
        browser.wait("document.querySelectorAll('#records li').length >= 5");
        browser.wait("document.querySelector('#records').textContent.includes('postgres:quotes')");
        browser.wait("document.querySelector('#records').textContent.includes('mongodb:simpson_db.quotes')");
        browser.wait("[...document.querySelectorAll('#records .mark')].some(m => m.textContent === 'was character')");
        browser.wait("/\\d\\/s not shown/.test(document.querySelector('#hidden').textContent)");
        browser.wait("Number(document.querySelectorAll('polyline')[0].getAttribute('points').split(' ').length) > 3");
        // Dead letters by code with a sample.
        browser.wait("document.querySelector('button[data-code=reject]')");
        browser.click("button[data-code=reject]");
        browser.wait("document.querySelector('.sample')?.textContent.includes('{\"quote\": 5}')");
        picture(&browser, "records");
        browser.prefer("dark");
        picture(&browser, "records-dark");
        browser.prefer("light");

        pause_and_roll_back(&case, &browser);

        // A broken database and a broken module: both are named without a click.
        case.install_as("spoiled", b"no wasm at all");
        proxy.cut();
        browser.wait("document.querySelector('#ready').textContent === 'not ready'");
        browser.wait("document.querySelector('nav .flow').textContent.includes('failing')");
        browser.wait("/postgres/.test(document.querySelector('nav .reason').textContent)");
        browser.wait("document.querySelector('nav').textContent.includes('spoiled.wasm')");
        browser.wait("document.querySelector('.stack .box.bad')?.textContent.includes('postgres')");
        picture(&browser, "causes");
        proxy.restore();
        std::fs::remove_file(case.module("spoiled")).expect("removed");
        browser.wait("document.querySelector('#ready').textContent === 'ready'");
    });
    // The keyboard is enough: j and k go through the flows.
    let first = browser.value("document.querySelector('#flow h2').textContent");
    browser.press(if first == "a_numbers" { "j" } else { "k" });
    browser.wait(&format!("document.querySelector('#flow h2').textContent !== {first}"));
    let elsewhere = "performance.getEntriesByType('resource').filter(r => !r.name.startsWith(location.origin)).length";
    assert_eq!(browser.value(elsewhere), 0, "nothing is loaded from elsewhere");
    let mut complaints = browser.complaints();
    // The page asks for the builds now and then, also while their database is away.
    complaints.retain(|complaint| !(complaint.contains("/api/module-history") && complaint.contains("503")));
    assert!(complaints.is_empty(), "{complaints:#?}");
    is_light(&host, &browser);
}

/// At most 150 KB; painted within 200 ms where nobody else needs the machine. Three times that is let pass here, and on
/// a machine that is slower still four times what a line of text takes.
fn is_light(host: &Host, browser: &Browser) {
    let bundle: usize = ["/", "/page.css", "/page.js"].iter().map(|part| host.get(part).1.len()).sum();
    assert!((10_000..=150_000).contains(&bundle), "the page has {bundle} bytes");
    let paint = |path: &str| {
        browser.open("about:blank");
        browser.open(&format!("http://{}{path}", host.address()));
        browser.wait("performance.getEntriesByName('first-contentful-paint').length === 1");
        let paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime";
        browser.value(paint).as_f64().expect("a time")
    };
    let (lines, pages): (Vec<f64>, Vec<f64>) = (0..5).map(|_| (paint("/health/live"), paint("/"))).unzip();
    eprintln!("the page has {bundle} bytes; first paints: {pages:.0?} ms, of a line of text {lines:.0?} ms");
    let best = |paints: &[f64]| paints.iter().copied().fold(f64::INFINITY, f64::min);
    let (page, line) = (best(&pages), best(&lines));
    assert!(page < (4.0 * line).max(600.0), "the first paint took {page} ms, that of a line of text {line} ms");
}

fn pause_and_roll_back(case: &Case, browser: &Browser) {
    browser.click("#pause");
    browser.wait("document.querySelector('#said').textContent.includes('is paused')");
    browser.wait("document.querySelector('#flow .chip').textContent === 'paused'");
    browser.click("#resume");
    browser.wait("document.querySelector('#flow .chip').textContent === 'running'");
    browser.click("nav .flow[data-flow=a_numbers]");
    browser.wait("document.querySelector('#flow h2')?.textContent === 'a_numbers'");
    case.install_as("numbered", &guests::numbered(2));
    browser.wait("document.querySelector('#rollback')");
    let last = "SELECT number FROM numbered ORDER BY \"offset\" DESC LIMIT 1";
    wait_until("the new build writes", 30, || case.database.column(last) == ["2"]);
    browser.click("#rollback");
    browser.wait("document.querySelector('dialog[open]')");
    picture(browser, "rollback");
    browser.click("#yes");
    browser.wait("document.querySelector('#undo')");
    wait_until("the build of before writes", 30, || case.database.column(last) == ["1"]);
    // Which build was in force from where on, as the database has it.
    browser.wait("document.querySelector('#builds summary')?.textContent.endsWith(': 3')");
    browser.click("#builds summary");
    browser.wait("document.querySelector('#builds td')?.offsetHeight > 0");
    browser.wait("/numbered.*\\/0 from \\d/.test(document.querySelector('#builds').textContent)");
    picture(browser, "builds");
}
