//! A report as one HTML page, which needs nothing besides itself: no network, no font, and no script to be read.

mod timeline;

use std::{
    collections::BTreeSet,
    fmt::{self, Display, from_fn},
    time::Duration,
};

use self::timeline::timeline;
use super::{BackendReport, CaseReport, End, Report, Verdict};
use crate::Clause;

impl Report {
    /// The report as a page of HTML, to be kept in a file: the clauses by backends, with a filter, the cases and their
    /// times behind each cell, and the failures with all that is known of them.
    ///
    /// What stands in it, such as the name of a backend, is text wherever it came from. The address of the page holds
    /// what is shown, so that it can be passed on: `#1/A2` opens the cases about A2 on the first backend,
    /// `#1/atomic/A2-some-case` a failure, and behind either `?text=batch&verdict=fail&backend=1` sets the filter.
    #[must_use]
    pub fn to_html(&self) -> String {
        format!(
            include_str!("html/page.html"),
            title = text(&format!("Conformance: {}", self.headline())),
            style = include_str!("html/page.css"),
            script = include_str!("html/page.js"),
            headline = text(&self.headline()),
            run = text(&self.run()),
            backends = all(self.numbered(), |f, (number, backend)| card(f, *number, backend)),
            failures = self.failures_of_page(),
            verdicts = all(Verdict::ALL.iter(), |f, verdict| {
                write!(f, "<option value=\"{}\">{verdict}</option>", class(**verdict))
            }),
            names = all(self.numbered(), |f, (number, backend)| {
                write!(f, "<option value=\"{number}\">{}</option>", text(&backend.name))
            }),
            columns = all(self.numbered(), |f, (number, backend)| {
                write!(f, "<th scope=\"col\" data-backend=\"{number}\">{}</th>", text(&backend.name))
            }),
            count = self.backends.len(),
            matrix = self.matrix(),
        )
    }

    fn headline(&self) -> String {
        let ended = |end| self.backends.iter().filter(|backend| backend.end() == end).count();
        let failed = ended(End::Failed) + ended(End::NothingTested);
        match (&self.backends[..], failed, ended(End::NotSettled)) {
            ([], ..) => "No backend was tested".into(),
            ([only], 0, 0) => format!("{} keeps what {}", only.name, self.extent("it declares")),
            ([only], 0, _) => format!("{} is not settled", only.name),
            ([only], ..) if only.count(Verdict::Fail) > 0 => format!("{} breaks what it declares", only.name),
            ([only], ..) if only.count(Verdict::HarnessError) > 0 => {
                format!("{} is not wholly tested: the suite or its factory failed", only.name)
            }
            ([only], ..) => format!("Nothing was tested of {}", only.name),
            (many, 0, 0) => format!("All {} backends keep what {}", many.len(), self.extent("they declare")),
            (many, 0, open) => format!("{open} of {} backends are not settled", many.len()),
            (many, failed, _) => format!("{failed} of {} backends failed", many.len()),
        }
    }

    /// What is known to be kept: what is declared, unless equipment was missing for a part of it.
    fn extent(&self, declared: &str) -> String {
        let untested = |case: &&CaseReport| case.verdict == Verdict::Untested;
        let cases = self.backends.iter().flat_map(|backend| &backend.cases).filter(untested);
        match cases.map(|case| case.clause).collect::<BTreeSet<_>>().len() {
            0 => declared.to_owned(),
            1 => "was tested; 1 clause is not fully tested".to_owned(),
            clauses => format!("was tested; {clauses} clauses are not fully tested"),
        }
    }

    fn run(&self) -> String {
        let cases = self.cases.as_ref().map_or_else(String::new, |pattern| format!(" · cases {pattern}"));
        format!("irminsul conformance {} · profile {} · seed {}{cases}", self.suite, self.profile, self.seed)
    }

    /// The backends, each with the number that the page knows it by.
    fn numbered(&self) -> impl Iterator<Item = (usize, &BackendReport)> + Clone {
        self.backends.iter().enumerate().map(|(index, backend)| (index + 1, backend))
    }

    fn failures_of_page(&self) -> impl Display {
        from_fn(move |f| {
            if self.backends.iter().all(|backend| backend.failures().next().is_none()) {
                return Ok(());
            }
            f.write_str("<section aria-labelledby=\"failures\">\n<h2 id=\"failures\">Failures</h2>\n")?;
            for (number, backend) in self.numbered() {
                backend.failures().try_for_each(|case| failure(f, number, backend, case))?;
            }
            f.write_str("</section>\n")
        })
    }

    /// A body for each group of clauses.
    fn matrix(&self) -> impl Display {
        from_fn(move |f| {
            let span = self.backends.len() + 1;
            for (group, clauses) in self.groups() {
                writeln!(
                    f,
                    "<tbody>\n<tr class=\"group\"><th colspan=\"{span}\" scope=\"rowgroup\">{group}</th></tr>"
                )?;
                clauses.into_iter().try_for_each(|clause| self.clause(f, clause))?;
                writeln!(f, "</tbody>")?;
            }
            Ok(())
        })
    }

    /// The row of a clause, and the one with its cases, which opens below it.
    fn clause(&self, f: &mut fmt::Formatter<'_>, clause: &Clause) -> fmt::Result {
        let Clause { id, title, .. } = clause;
        write!(f, "<tr class=\"clause\" id=\"{id}\"><th scope=\"row\">")?;
        write!(f, "<a href=\"#{id}\"><span class=\"id\">{id}</span> <span>{}</span></a></th>", text(title))?;
        for (number, backend) in self.numbered() {
            cell(f, number, backend, clause)?;
        }
        writeln!(f, "</tr>")?;
        let span = self.backends.len() + 1;
        write!(f, "<tr class=\"cases\"><td colspan=\"{span}\"><blockquote>{}</blockquote>", prose(&clause.text))?;
        for (number, backend) in self.numbered() {
            write!(f, "<section id=\"{number}/{id}\" data-backend=\"{number}\"><h3>{}</h3><ul>", text(&backend.name))?;
            backend.of_clause(id).try_for_each(|case| line(f, number, case))?;
            f.write_str("</ul></section>")?;
        }
        writeln!(f, "</td></tr>")
    }
}

/// What a backend declares, and how it did.
fn card(f: &mut fmt::Formatter<'_>, number: usize, backend: &BackendReport) -> fmt::Result {
    let (class, verdict) = match backend.end() {
        End::Passed => ("pass", "✓ passed"),
        End::PassedInPart => ("pass", "✓ passed what was tested"),
        End::NotSettled => ("inconclusive", "? not settled"),
        End::NothingTested => ("inconclusive", "? nothing tested"),
        End::Failed => ("fail", "✗ failed"),
    };
    let declared =
        all(backend.declared(), |f, (name, level)| write!(f, "<dt>{}</dt><dd>{}</dd>", text(name), text(level)));
    writeln!(
        f,
        "<li class=\"{class}\" data-backend=\"{number}\"><h2>{}</h2><span class=\"verdict\">{verdict}</span>\
         <p>{}</p><dl>{declared}</dl></li>",
        text(&backend.name),
        text(&backend.figures()),
    )
}

/// The verdict on a clause, which leads to its cases.
fn cell(f: &mut fmt::Formatter<'_>, number: usize, backend: &BackendReport, clause: &Clause) -> fmt::Result {
    let Some(tally) = backend.tally_of(clause.id) else { return write!(f, "<td data-backend=\"{number}\"></td>") };
    let (verdict, figures) = (tally.verdict, tally.figures());
    write!(
        f,
        "<td class=\"{}\" data-backend=\"{number}\"><a href=\"#{number}/{}\"><span class=\"mark\" aria-hidden=\"true\">{}\
         </span><span class=\"word\">{verdict} </span>{figures}</a></td>",
        class(verdict),
        clause.id,
        mark(verdict),
    )
}

/// A case in the list of its clause; a failure leads to what is known of it.
fn line(f: &mut fmt::Formatter<'_>, number: usize, case: &CaseReport) -> fmt::Result {
    let CaseReport { id, verdict, duration, .. } = case;
    write!(f, "<li><span class=\"verdict {}\">{} {verdict}</span> ", class(*verdict), mark(*verdict))?;
    if verdict.is_failure() {
        write!(f, "<a href=\"#{number}/{id}\"><code>{id}</code></a>")?;
    } else {
        write!(f, "<code>{id}</code>")?;
    }
    if *verdict != Verdict::Unsupported {
        write!(f, " <span class=\"quiet\">{}", time(*duration))?;
        if let Some(met) = case.met {
            write!(f, ", {met} met")?;
        }
        f.write_str("</span>")?;
    }
    if let Some(reason) = &case.reason {
        write!(f, "<span class=\"reason\">{}</span>", prose(reason))?;
    }
    f.write_str("</li>")
}

/// All that is known of a failure.
fn failure(f: &mut fmt::Formatter<'_>, number: usize, backend: &BackendReport, case: &CaseReport) -> fmt::Result {
    let CaseReport { id, clause, verdict, seed, duration, .. } = case;
    let reason = case.reason.as_deref().unwrap_or("no reason");
    writeln!(
        f,
        "<details class=\"failure {}\" id=\"{number}/{id}\" data-backend=\"{number}\" data-clause=\"{clause}\">\
         <summary><span class=\"verdict\">{} {verdict}</span> <code>{id}</code> on {}<span class=\"reason\">{}</span>\
         </summary><div>",
        class(*verdict),
        mark(*verdict),
        text(&backend.name),
        prose(reason),
    )?;
    if let Some(clause) = Clause::by_id(clause) {
        writeln!(f, "<blockquote><strong>{}</strong> {}</blockquote>", clause.id, prose(&clause.text))?;
    }
    write!(f, "<dl><dt>seed</dt><dd>{seed}</dd>")?;
    if let Some(command) = &case.replay {
        write!(f, "<dt>replay</dt><dd><code>{}</code></dd>", text(command))?;
    }
    if let Some(location) = &case.location {
        write!(f, "<dt>demanded at</dt><dd><code>{}</code></dd>", text(location))?;
    }
    writeln!(f, "<dt>took</dt><dd>{}</dd></dl>", time(*duration))?;
    if let Some(witness) = &case.witness {
        writeln!(f, "{}", timeline(witness))?;
    }
    if let Some(details) = &case.details {
        writeln!(f, "<pre tabindex=\"0\">{}</pre>", text(details))?;
    }
    writeln!(f, "</div></details>")
}

/// Each of several, one after the other.
fn all<I: IntoIterator<IntoIter: Clone>>(
    items: I,
    write: impl Fn(&mut fmt::Formatter<'_>, &I::Item) -> fmt::Result,
) -> impl Display {
    let items = items.into_iter();
    from_fn(move |f| items.clone().try_for_each(|item| write(f, &item)))
}

/// Text as HTML, in an element or in a quoted attribute.
fn text(text: &str) -> impl Display {
    from_fn(move |f| {
        text.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => write!(f, "{other}"),
        })
    })
}

/// Text with words of code between backticks.
fn prose(words: &str) -> impl Display {
    from_fn(move |f| {
        words.split('`').enumerate().try_for_each(|(index, part)| match index % 2 {
            0 => write!(f, "{}", text(part)),
            _ => write!(f, "<code>{}</code>", text(part)),
        })
    })
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::HarnessError => "harness-error",
        other => other.name(),
    }
}

/// What tells verdicts apart without a colour.
fn mark(verdict: Verdict) -> char {
    match verdict {
        Verdict::Pass => '✓',
        Verdict::Fail => '✗',
        Verdict::HarnessError => '!',
        Verdict::Inconclusive => '?',
        Verdict::Untested => '○',
        Verdict::Unsupported => '–',
    }
}

fn time(duration: Duration) -> impl Display {
    from_fn(move |f| match duration {
        short if short < Duration::from_secs(1) => write!(f, "{} ms", short.as_millis()),
        long => write!(f, "{:.1} s", long.as_secs_f64()),
    })
}

#[cfg(test)]
mod tests {
    use crate::report::{Verdict, sample};

    #[test]
    fn whatever_a_run_says_is_text() {
        let hostile = "</script><script>alert(1)</script>\"'><img src=x>`</code>&lt;";
        let page = sample::report().filled_with(hostile).to_html();
        for (element, count) in [("<script", 1), ("</script", 1), ("<img", 0), ("</code>&lt;", 0), ("'><", 0)] {
            assert_eq!(page.matches(element).count(), count, "{element}");
        }
        assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    }

    #[test]
    fn a_page_of_a_single_backend_and_one_of_none_say_so() {
        let mut report = sample::report();
        report.backends.truncate(1);
        let told = "<h1>sound keeps what was tested; 1 clause is not fully tested</h1>";
        assert!(report.to_html().contains(told));
        report.backends[0].cases.retain(|case| case.verdict != Verdict::Untested);
        assert!(report.to_html().contains("<h1>sound keeps what it declares</h1>"));
        report.backends.clear();
        assert!(report.to_html().contains("<h1>No backend was tested</h1>"));
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let page = sample::report().to_html();
        for link in ["http:", "https:", "src=", "@import", "url(", "<link"] {
            assert!(!page.contains(link), "{link}");
        }
    }
}
