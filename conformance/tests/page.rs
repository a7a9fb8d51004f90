//! The page of a report, as a browser shows it: a real Chromium, without a window.

use std::{
    env,
    process::ExitCode,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use backend_mem::MemOptions;
use conformance::{
    Factory, Options, Place, Report, Settings, SharedFactory, Site, Verdict,
    history::{History, Limits, check},
    run,
};
use headless::Browser;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use store_api::{Backend, Result};

const SOUND: &str = "sound";
/// A backend that would like to be more than text.
const HOSTILE: &str = "</script><img src=x onerror=\"document.title='taken'\">&amp;";
const FAILED_CASE: &str = "atomic/A2-test-and-set-truth-table";

/// A read of what was replaced.
const IMPOSSIBLE: &str = r#"
    {"process": 1, "event": "call", "op": "set", "key": "</svg>", "value": "new"}
    {"process": 1, "event": "return"}
    {"process": 2, "event": "call", "op": "find", "key": "</svg>"}
    {"process": 2, "event": "return", "value": null}
"#;

type Check = fn(&Shown) -> std::result::Result<(), Failed>;

const CHECKS: &[(&str, Check)] = &[
    ("the_matrix_has_a_row_for_each_clause_and_a_cell_for_each_backend", matrix),
    ("the_filter_hides_clauses_backends_and_failures", filter),
    ("an_address_opens_a_failure_and_its_timeline", failure),
    ("a_click_on_a_cell_opens_its_cases_and_another_closes_them", click),
    ("what_is_typed_into_the_filter_is_kept_in_the_address", typing),
    ("what_a_backend_says_is_text", hostile),
    ("an_error_of_the_script_is_shown", script_error),
];

fn main() -> ExitCode {
    let browser = Arc::new(Browser::find().map(Shown));
    let test = |(name, check): &(&'static str, Check)| {
        let (check, browser) = (*check, Arc::clone(&browser));
        Trial::ignorable_test(*name, move || match &*browser {
            Some(browser) => check(browser).map(|()| Completion::Completed),
            None if env::var_os("IRMINSUL_EQUIPPED").is_some() => Err("no chromium is here".into()),
            None => Ok(Completion::ignored_with("no chromium is here; scripts/test installs it")),
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

fn matrix(browser: &Shown) -> std::result::Result<(), Failed> {
    let dom = browser.show("")?;
    let rows = dom.clauses();
    let clauses = REPORT.clauses().count();
    demand!(clauses > 1 && rows.len() == clauses, "{} rows for {clauses} clauses", rows.len());
    for row in &rows {
        demand!(row.matches("<td").count() == 2, "a clause with other than two cells: {row}");
        demand!(!is_hidden(row), "a clause is hidden: {row}");
    }
    let a2 = dom.element("tr", "A2")?;
    demand!(a2.contains("Compare-and-set, byte for byte"), "no title: {a2}");
    let (sound, broken) = a2.split_once("data-backend=\"2\"").ok_or("no second backend")?;
    demand!(sound.contains("pass") && broken.contains("fail"), "the verdicts: {a2}");
    Ok(())
}

fn filter(browser: &Shown) -> std::result::Result<(), Failed> {
    let all = browser.show("")?.clauses().len();
    let shown = |dom: &Dom| dom.clauses().into_iter().filter(|row| !is_hidden(row)).count();

    let by_text = browser.show("#?text=byte+compare")?;
    demand!(shown(&by_text) == 1 && !is_hidden(by_text.element("tr", "A2")?), "the text shows {}", shown(&by_text));
    demand!(by_text.0.contains(&format!("1 of {all} clauses")), "the count is not told");
    let by_verdict = browser.show("#?verdict=fail")?;
    demand!(shown(&by_verdict) == 1, "the verdict shows {}", shown(&by_verdict));
    demand!(!is_hidden(by_verdict.element("details", &format!("2/{FAILED_CASE}"))?), "the failure is hidden");
    let by_backend = browser.show("#?backend=1&verdict=fail")?;
    demand!(shown(&by_backend) == 0, "the sound backend fails {}", shown(&by_backend));
    demand!(is_hidden(by_backend.element("details", &format!("2/{FAILED_CASE}"))?), "the failure is shown");
    Ok(())
}

fn failure(browser: &Shown) -> std::result::Result<(), Failed> {
    let id = format!("2/{FAILED_CASE}");
    let dom = browser.show(&format!("#{id}"))?;
    let failure = dom.element("details", &id)?;
    demand!(tag(failure).contains(" open"), "it is closed: {}", tag(failure));
    demand!(failure.contains("<svg class=\"timeline\""), "no timeline");
    demand!(failure.matches("<rect").count() == 2, "other than two operations");
    demand!(failure.matches("operation impossible").count() == 1, "not one of them is impossible");
    demand!(failure.contains("No order of these operations explains"), "no sentence");
    demand!(failure.contains("--seed 7 --case atomic/A2"), "no command to replay it");
    demand!(!tag(browser.show("")?.element("details", &id)?).contains(" open"), "it is open without being asked for");
    Ok(())
}

fn click(browser: &Shown) -> std::result::Result<(), Failed> {
    const CLICK: &str = "document.querySelector('#A2 td a').click();";
    let opened = browser.show_with("#?verdict=fail", CLICK)?;
    demand!(opened.0.contains("<tr class=\"cases open\""), "the cases are closed");
    demand!(opened.element("section", "1/A2")?.contains("class=\"chosen\""), "not the cell that was clicked");
    demand!(opened.0.contains("data-address=\"#1/A2?verdict=fail\""), "the address does not tell it");
    let closed = browser.show_with("", &format!("{CLICK}{CLICK}"))?;
    demand!(!closed.0.contains("cases open"), "the cases are open");
    Ok(())
}

fn typing(browser: &Shown) -> std::result::Result<(), Failed> {
    const TYPE: &str = "const field = document.querySelector('input[name=text]'); field.value = 'a%&b'; \
                        field.dispatchEvent(new Event('input', {bubbles: true}));";
    let typed = browser.show_with("#1/A2", TYPE)?;
    demand!(typed.0.contains("data-address=\"#1/A2?text=a%25%26b\""), "the address does not tell it");
    demand!(typed.clauses().into_iter().all(is_hidden), "a clause is shown");
    Ok(())
}

fn hostile(browser: &Shown) -> std::result::Result<(), Failed> {
    let dom = browser.show("#?backend=2")?;
    demand!(!dom.0.contains("<img"), "a name became an element");
    demand!(!dom.0.contains("<title>taken"), "a name became a script");
    demand!(dom.0.contains("&lt;/script&gt;&lt;img src=x"), "the name is not shown");
    demand!(dom.0.contains("Key <code>&lt;/svg&gt;</code>"), "the key is not shown");
    Ok(())
}

fn script_error(browser: &Shown) -> std::result::Result<(), Failed> {
    let page = page().replace("\"use strict\";", "\"use strict\"; setTimeout(() => nothing.at.all);");
    let dom = browser.render(&page, "")?;
    demand!(dom.0.contains(SCRIPT_ERROR), "no error is shown");
    demand!(dom.0.contains("nothing is not defined"), "the error is not told");
    Ok(())
}

const SCRIPT_ERROR: &str = "id=\"script-error\"";

/// What a browser made of a page.
struct Dom(String);

impl Dom {
    fn clauses(&self) -> Vec<&str> {
        let rows = self.0.split("<tr class=\"clause\"").skip(1);
        rows.map(|row| row.split("</tr>").next().unwrap_or_default()).collect()
    }

    /// The element of an id, to its end.
    fn element(&self, name: &str, id: &str) -> std::result::Result<&str, Failed> {
        let at = self.0.find(&format!(" id=\"{id}\"")).ok_or_else(|| format!("no element has the id {id}"))?;
        let begin = self.0[..at].rfind('<').ok_or("an attribute without an element")?;
        let element = &self.0[begin..];
        Ok(element.split(&format!("</{name}>")).next().unwrap_or(element))
    }
}

/// What stands between an element's `<` and its first `>`.
fn tag(element: &str) -> &str {
    element.split('>').next().unwrap_or_default()
}

fn is_hidden(element: &str) -> bool {
    tag(element).contains(" hidden")
}

/// A browser, and the page of the report in it.
struct Shown(Browser);

impl Shown {
    /// Opens the page of the report at an address, whose script must not fail.
    fn show(&self, address: &str) -> std::result::Result<Dom, Failed> {
        self.show_with(address, "")
    }

    /// The same, and lets a script do what a user would.
    fn show_with(&self, address: &str, script: &str) -> std::result::Result<Dom, Failed> {
        let tell = "document.body.dataset.address = location.hash;";
        let page = page().replace("</body>", &format!("<script>{script}{tell}</script></body>"));
        let dom = self.render(&page, address)?;
        demand!(!dom.0.contains(SCRIPT_ERROR), "the script failed: {}", dom.element("p", "script-error")?);
        demand!(dom.0.contains("class=\"scripted\""), "the script did not run to its end");
        Ok(dom)
    }

    fn render(&self, page: &str, address: &str) -> std::result::Result<Dom, Failed> {
        Ok(Dom(self.0.render(page, address)?))
    }
}

fn page() -> String {
    REPORT.to_html()
}

static REPORT: LazyLock<Report> = LazyLock::new(report);

/// A run over two backends, the second of which is made to have failed.
fn report() -> Report {
    let options = Options::new().seed(7).case("atomic/A").command(["irminsul", "conform"]);
    let [sound, hostile] = [SOUND, HOSTILE].map(|name| run(&(Arc::new(Mem(name)) as SharedFactory), &options));
    let mut report = sound.and(hostile);
    let history = History::read(IMPOSSIBLE.as_bytes()).expect("a history");
    let conformance::history::Verdict::NotLinearizable(violation) = check(&history, Limits::default()) else {
        panic!("a read of what was replaced is linearizable")
    };
    let cases = &mut report.backends[1].cases;
    let failed = cases.iter_mut().find(|case| case.id == FAILED_CASE).expect("the case was run");
    failed.verdict = Verdict::Fail;
    failed.reason = Some(HOSTILE.into());
    failed.details = Some(HOSTILE.into());
    failed.witness = Some(violation.witness(Limits::default()));
    report
}

struct Mem(&'static str);

#[async_trait]
impl Factory for Mem {
    fn name(&self) -> String {
        self.0.into()
    }

    async fn create(&self, _: Place<'_>) -> Result<Site> {
        Ok(Site::new(""))
    }

    async fn open(&self, _: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        settings.expect_none()?;
        Ok(Arc::new(MemOptions::new().open().await?))
    }
}
