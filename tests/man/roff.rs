//! Writes manual pages: plain sentences in, roff out.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A page in the making.
pub(crate) struct Page(Roff);

impl Page {
    /// `date` never changes by itself: a page is the same whenever it is made.
    pub(crate) fn new(title: &str, section: &str, date: &str) -> Page {
        let mut roff = Roff::new();
        let source = format!("multibot {}", env!("CARGO_PKG_VERSION"));
        let title = title.to_uppercase();
        roff.control("TH", [title.as_str(), section, date, &source, "multibot manual"]);
        Page(roff)
    }

    pub(crate) fn section(&mut self, title: &str) {
        self.0.control("SH", [title]);
    }

    /// One or more paragraphs, divided by empty lines. Words between backticks are bold.
    pub(crate) fn prose(&mut self, text: &str) {
        for (index, paragraph) in text.split("\n\n").enumerate() {
            if index > 0 {
                self.0.control("PP", []);
            }
            self.0.text(inlines(&joined(paragraph)));
        }
    }

    /// A term and what there is to say about it.
    pub(crate) fn item(&mut self, term: Vec<Inline>, text: &str) {
        self.0.control("TP", []);
        self.0.text(term);
        for (index, paragraph) in text.split("\n\n").enumerate() {
            if index > 0 {
                self.0.control("sp", []);
            }
            self.0.text(inlines(&joined(paragraph)));
        }
    }

    /// Lines as they are.
    pub(crate) fn verbatim(&mut self, text: &str) {
        self.0.control("RS", ["4"]).control("nf", []);
        for line in text.lines() {
            match line {
                "" => self.0.control("sp", []),
                _ => self.0.text([roman(line)]),
            };
        }
        self.0.control("fi", []).control("RE", []);
    }

    /// Room before what follows.
    pub(crate) fn gap(&mut self) {
        self.0.control("PP", []);
    }

    pub(crate) fn line(&mut self, parts: Vec<Inline>) {
        self.0.text(parts);
    }

    /// The source of the page.
    pub(crate) fn render(&self) -> String {
        lasting(&self.0.render())
    }

    /// The source of the page with `insert`, made by somebody else, before the section `title`.
    pub(crate) fn render_with(&self, insert: &str, title: &str) -> String {
        let page = self.0.render();
        let (before, after) = page.split_once(&format!(".SH {title}\n")).unwrap_or((&page, ""));
        lasting(&format!("{before}{insert}.SH {title}\n{after}"))
    }
}

fn joined(paragraph: &str) -> String {
    paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let part = |(index, part): (usize, &str)| if index % 2 == 1 { bold(part) } else { roman(part) };
    parts.filter(|(_, part)| !part.is_empty()).map(part).collect()
}

/// Mends what the writers leave: words in backticks that came from help texts, marks that are typeset as
/// accents, empty lines, blanks at the end of lines, and breaks beside room that breaks a line anyway.
fn lasting(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        let line = line.trim_end();
        if line.is_empty() {
            text.push_str(".sp\n");
        } else if line.starts_with('.') {
            text.push_str(&format!("{line}\n"));
        } else {
            let mut parts = line.split('`');
            text.push_str(parts.next().unwrap_or_default());
            for (index, part) in parts.enumerate() {
                text.push_str(if index % 2 == 0 { "\\fB" } else { "\\fR" });
                text.push_str(part);
            }
            text.push('\n');
        }
    }
    let text = text.replace('~', "\\(ti").replace('^', "\\(ha");
    text.replace(".br\n.sp\n.br\n", ".sp\n").replace(".sp\n.br\n", ".sp\n")
}
