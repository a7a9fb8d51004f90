//! The page of a report, as a browser shows it: a real Chromium, without a window. The page has no script of its own; what
//! a test wants to know, a script of the test writes into the page.

use std::{env, process::ExitCode, sync::Arc, time::Duration};

use benches::{
    CheckedSubject, DynSubject, Facts, Growth, Headline, Load, Machine, NullStore, Plan, Progress, Report, Role,
    Series, Stage, Target::AtLeast, Workload, measure_load,
};
use headless::Browser;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use store_api::Durability;
use tempfile::TempDir;

/// A command that would like to be more than text.
const HOSTILE: &str = "</title><script>document.title='taken'</script><img src=x>";

type Check = fn(&Browser, &str) -> Result<(), Failed>;

const CHECKS: &[(&str, Check)] = &[
    ("every_plot_has_lines_inside_its_frame", plots),
    ("names_of_lines_do_not_cover_each_other", names),
    ("the_page_is_as_wide_as_a_phone", phone),
    ("light_and_dark_differ_and_can_be_read", colours),
    ("nothing_is_loaded_and_no_name_becomes_an_element", quiet),
];

fn main() -> ExitCode {
    let browser = Arc::new(Browser::find());
    let page = Arc::new(page());
    let test = |(name, check): &(&'static str, Check)| {
        let (check, browser, page) = (*check, Arc::clone(&browser), Arc::clone(&page));
        Trial::ignorable_test(*name, move || match &*browser {
            Some(browser) => check(browser, &page).map(|()| Completion::Completed),
            None if env::var_os("IRMINSUL_EQUIPPED").is_some() => Err("no chromium is here".into()),
            None => Ok(Completion::ignored_with("no chromium is here; scripts/prepare installs it")),
        })
    };
    libtest_mimic::run(&Arguments::from_args(), CHECKS.iter().map(test).collect()).exit_code()
}

macro_rules! demand {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}

/// What an expression of JavaScript is on the page.
fn told(browser: &Browser, page: &str, expression: &str) -> Result<String, Failed> {
    const BEGIN: &str = "<output id=\"told\">";
    let script = format!(
        "<output id=\"told\"></output><script>document.getElementById('told').textContent = String({expression});</script></body>"
    );
    let dom = browser.render(&page.replace("</body>", &script), "")?;
    let told = dom.split(BEGIN).nth(1).and_then(|rest| rest.split("</output>").next());
    told.filter(|told| !told.is_empty()).map(str::to_owned).ok_or_else(|| "the script did not run to its end".into())
}

fn number(told: &str) -> Result<f64, Failed> {
    told.parse().map_err(|_| Failed::from(format!("{told} is not a number")))
}

fn plots(browser: &Browser, page: &str) -> Result<(), Failed> {
    let count = told(browser, page, "document.querySelectorAll('svg.plot').length")?;
    // Throughput and percentiles of three workloads, the ratios, and five of what grows with the records.
    demand!(count == "12", "{count} plots");
    let outside = told(
        browser,
        page,
        "[...document.querySelectorAll('svg.plot')].flatMap((svg) => [...svg.querySelectorAll('.series, text')].filter((part) => {
            const [inner, outer] = [part.getBoundingClientRect(), svg.getBoundingClientRect()];
            return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
        })).length",
    )?;
    demand!(outside == "0", "{outside} parts lie outside their plots");
    let flat = told(
        browser,
        page,
        "[...document.querySelectorAll('.series path')].filter((path) => path.getTotalLength() < 100).length",
    )?;
    demand!(flat == "0", "{flat} lines are too short to be seen");
    Ok(())
}

fn names(browser: &Browser, page: &str) -> Result<(), Failed> {
    let covered = told(
        browser,
        page,
        "[...document.querySelectorAll('svg.plot')].flatMap((svg) => {
            const boxes = [...svg.querySelectorAll('.name text')].map((text) => text.getBoundingClientRect());
            return boxes.filter((one, index) => boxes.slice(0, index).some((other) => one.top < other.bottom - 4 && other.top < one.bottom - 4));
        }).length",
    )?;
    demand!(covered == "0", "{covered} names cover another");
    Ok(())
}

fn phone(browser: &Browser, page: &str) -> Result<(), Failed> {
    // A window of a headless browser has a least width; a frame has none.
    let wide =
        told(browser, page, "(() => { document.body.style.width = '360px'; return document.body.scrollWidth; })()")?;
    demand!(wide == "360", "a page of 360 is {wide} wide");
    Ok(())
}

fn colours(browser: &Browser, page: &str) -> Result<(), Failed> {
    // The darkest is 0, the lightest 1.
    const LIGHTNESS: &str =
        "((colour) => colour.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + part / 765, 0))";
    let contrast = |scheme: u8| -> Result<(f64, f64), Failed> {
        let browser = browser.clone().with(format!("--blink-settings=preferredColorScheme={scheme}"));
        let of = |what: &str| {
            told(&browser, page, &format!("{LIGHTNESS}(getComputedStyle(document.body).{what})"))
                .and_then(|told| number(&told))
        };
        Ok((of("backgroundColor")?, of("color")?))
    };
    let ((dark_page, dark_ink), (light_page, light_ink)) = (contrast(0)?, contrast(1)?);
    demand!(light_page > 0.9 && light_ink < 0.3, "light: {light_ink} on {light_page}");
    demand!(dark_page < 0.2 && dark_ink > 0.7, "dark: {dark_ink} on {dark_page}");
    Ok(())
}

fn quiet(browser: &Browser, page: &str) -> Result<(), Failed> {
    let loaded = told(browser, page, "performance.getEntriesByType('resource').length")?;
    demand!(loaded == "0", "{loaded} things were loaded");
    let title = told(browser, page, "document.title")?;
    demand!(title.starts_with("Benchmarks: "), "the title is {title}");
    let images = told(browser, page, "document.images.length")?;
    demand!(images == "0", "a name became an image");
    let shown = told(browser, page, "document.querySelector('.run').textContent.includes('<img src=x>')")?;
    demand!(shown == "true", "the command is not shown as it is");
    Ok(())
}

/// Long names, and one that is longer than any room; each second one is what the one before it is compared with.
const NAMES: [&str; 12] = [
    "irminsul sqlite, sync=off",
    "raw SQLite, synchronous=normal",
    "irminsul rocksdb, sync=off",
    "raw RocksDB, not synced",
    "irminsul mem",
    "concurrent map",
    "sled, not flushed",
    "redb, not synced",
    "fjall, not synced",
    "sqlite:/var/lib/service/store.db",
    "sqlite:a/directory/that/lies/deep/below/others/which/have/names/of/their/own/too.db",
    "sqlite:a/directory/that/lies/deep/below/others/<img src=x>/names/of/their/own/two.db",
];

/// The page of a short run on a store that does nothing, which goes by many names; the tests are allowed their scripts.
fn page() -> String {
    let page = report().expect("a store that does nothing can be measured").to_html();
    page.replace("style-src 'unsafe-inline'", "style-src 'unsafe-inline'; script-src 'unsafe-inline'")
}

fn report() -> store_api::Result<Report> {
    let place = TempDir::new().expect("a directory is made");
    let plan = Plan::quick(Duration::from_millis(10));
    let nothing = NullStore { value: vec![b'.'; plan.value_len].into() };
    let machine = Machine::before(place.path(), "a temporary directory")?;
    let mut report = Report::new(HOSTILE, machine, plan.clone());
    report.subjects = vec![CheckedSubject::new(DynSubject::facts(&nothing), None)];
    report.headlines = vec![Headline::new("a store that does nothing", AtLeast(1.0), Some(2.0))];
    let workloads = [Workload::Find, Workload::Set, Workload::TestAndSet];
    let subjects = Load { subjects: &[&nothing], workloads: &workloads, plan: &plan };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    // On a busy machine a run may be over before its first operation, and such a row has no line.
    let loaded = loop {
        let loaded = runtime.block_on(measure_load(subjects, place.path(), &Progress::none()));
        if loaded.series.iter().all(|series| series.per_second() > 0.0) {
            break loaded;
        }
    };
    report.take_loads(Durability::Volatile, loaded);
    report.check()?;
    let found = report.load.clone();
    for (index, name) in NAMES.into_iter().enumerate() {
        let beside = (index % 2 == 0).then(|| NAMES[index + 1].to_owned());
        let role = if beside.is_some() { Role::Ours } else { Role::Raw };
        let facts = Facts { name: name.into(), role, beside, ..DynSubject::facts(&nothing) };
        report.subjects.push(CheckedSubject::new(facts, None));
        report.load.extend(found.iter().cloned().map(|series| named(series, name)));
    }
    let latency = found[0].latency();
    let stage = |records: u32| Stage {
        records: records.into(),
        filled_per_second: 1e9 / f64::from(records),
        find: latency,
        set: latency,
        resident_bytes: Some(u64::from(records) * 300),
        disk_bytes: Some(u64::from(records) * 200),
        reopen_us: Some(records.into()),
    };
    let grown = |name: &str| Growth { subject: name.into(), stages: [10_000, 100_000, 1_000_000].map(stage).into() };
    report.growth = NAMES[..4].iter().map(|name| grown(name)).collect();
    Ok(report.ended())
}

fn named(mut series: Series, name: &str) -> Series {
    name.clone_into(&mut series.subject);
    series
}
