//! Aligned tables: a header in capitals, two spaces between columns, no lines. On a terminal the text
//! columns wrap to its width; in a pipe every row is one line, with no trailing spaces.
//!
//! On a narrow terminal spare columns are left out, the last one first, and where the text column would be a
//! strip its text stands below its row instead.
//!
//! Cells are made visible first, so no text of a bot can recolour a terminal or break the columns.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, presets};

use super::lines::visible;
use super::style::{Paint, Style};

/// One column: its title, and what becomes of it where the terminal is narrow.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Words and names: never wrapped.
    Word(&'static str),
    /// Like a word, aligned to the right.
    Number(&'static str),
    /// Sentences: wrapped where the terminal is too narrow.
    Text(&'static str),
    /// A word, left out where the terminal is too narrow.
    Spare(&'static str),
    /// A number, likewise.
    SpareNumber(&'static str),
}

/// One cell, painted or not.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    paint: Option<Paint>,
}

pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

const GAP: u16 = 2;
/// A narrower strip of text is harder to read than lines of their own.
const STRIP_MIN: usize = 24;
/// How far text that stands below its row is set in.
const INDENT: &str = "    ";
/// Stand around painted text while widths are counted: both have no width, and no cell can hold them.
const PAINT_BEGINS: char = '\u{2062}';
const PAINT_ENDS: char = '\u{2063}';

impl Cell {
    pub fn painted(text: impl Into<String>, paint: Paint) -> Cell {
        Cell {
            text: text.into(),
            paint: Some(paint),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell {
            text: text.into(),
            paint: None,
        }
    }
}

impl Table {
    pub fn new(columns: &[Column]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for every column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for every column");
        self.rows.push(cells);
    }

    /// The table as lines, without a line end behind the last one.
    pub fn render(&self, style: &Style) -> String {
        let Some(width) = style.width().map(usize::from) else {
            return self.lines(style).join("\n");
        };
        let fitting = self.without_spares(width);
        let left = width.saturating_sub(fitting.fixed_width());
        let is_last_text = matches!(fitting.columns.last(), Some(Column::Text(_))) && fitting.columns.len() > 1;
        if is_last_text && left < STRIP_MIN && fitting.longest_text() > left {
            fitting.with_text_below(style, width).join("\n")
        } else {
            fitting.lines(style).join("\n")
        }
    }

    fn lines(&self, style: &Style) -> Vec<String> {
        let mut paints = self.rows.iter().flatten().filter_map(|cell| cell.paint);
        let laid_out = self.laid_out(style);
        laid_out
            .lines()
            .map(|line| coloured(&line, style, &mut paints))
            .collect()
    }

    /// The columns that fit: spare ones go, the last one first, until the others do.
    fn without_spares(&self, width: usize) -> Table {
        let mut fitting = Table {
            columns: self.columns.clone(),
            rows: self.rows.clone(),
        };
        while fitting.fixed_width() > width
            && let Some(spare) = fitting.columns.iter().rposition(|column| column.is_spare())
        {
            fitting.columns.remove(spare);
            for row in &mut fitting.rows {
                row.remove(spare);
            }
        }
        fitting
    }

    /// Each row without its last cell, and the text of that below it.
    fn with_text_below(mut self, style: &Style, width: usize) -> Vec<String> {
        self.columns.pop();
        let texts: Vec<Cell> = self.rows.iter_mut().filter_map(Vec::pop).collect();
        let mut lines = self.lines(style).into_iter();
        let mut all: Vec<String> = lines.next().into_iter().collect();
        for (line, text) in lines.zip(texts) {
            all.push(line);
            let narrow = style.narrowed(u16::try_from(width.saturating_sub(INDENT.len())).unwrap_or(u16::MAX));
            let mut below = Table::new(&[Column::Text("")]);
            if !text.text.is_empty() {
                below.row([text]);
                let shown = below.lines(&narrow);
                all.extend(
                    shown
                        .into_iter()
                        .skip(1)
                        .map(|line| format!("{INDENT}{line}").trim_end().to_owned()),
                );
            }
        }
        all
    }

    /// What all columns but those of text take, with their gaps.
    fn fixed_width(&self) -> usize {
        let columns = self.columns.iter().enumerate();
        let fixed = columns.filter(|(_, column)| !matches!(column, Column::Text(_)));
        fixed
            .map(|(index, column)| {
                let cells = self.rows.iter().map(|row| columns_of(&visible(&row[index].text)));
                cells.chain([column.title().len()]).max().unwrap_or(0) + usize::from(GAP)
            })
            .sum()
    }

    fn longest_text(&self) -> usize {
        let texts = self.rows.iter().filter_map(|row| row.last());
        texts.map(|cell| columns_of(&visible(&cell.text))).max().unwrap_or(0)
    }

    fn laid_out(&self, style: &Style) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        match style.width() {
            Some(width) => table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table.set_header(self.columns.iter().map(|column| column.title().to_uppercase()));
        for row in &self.rows {
            table.add_row(row.iter().map(Cell::marked));
        }
        for (column, shape) in self.columns.iter().zip(table.column_iter_mut()) {
            shape.set_padding((0, GAP));
            match column {
                Column::Word(_) | Column::Spare(_) => drop(shape.set_constraint(ColumnConstraint::ContentWidth)),
                Column::Number(_) | Column::SpareNumber(_) => {
                    shape.set_constraint(ColumnConstraint::ContentWidth);
                    shape.set_cell_alignment(CellAlignment::Right);
                }
                Column::Text(_) => {}
            }
        }
        table
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Column::Word(title)
            | Column::Number(title)
            | Column::Text(title)
            | Column::Spare(title)
            | Column::SpareNumber(title) => title,
        }
    }

    fn is_spare(self) -> bool {
        matches!(self, Column::Spare(_) | Column::SpareNumber(_))
    }
}

impl Cell {
    fn marked(&self) -> String {
        let text = visible(&self.text);
        if self.paint.is_some() {
            format!("{PAINT_BEGINS}{text}{PAINT_ENDS}")
        } else {
            text
        }
    }
}

/// How many columns of a terminal a text takes, near enough to choose a layout.
fn columns_of(text: &str) -> usize {
    text.chars().count()
}

/// A laid out line in its colours, which come in the order of the painted cells. Text that was wrapped
/// is painted on its first line only.
fn coloured(line: &str, style: &Style, paints: &mut impl Iterator<Item = Paint>) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(PAINT_BEGINS) {
        text.push_str(&before.replace(PAINT_ENDS, ""));
        let (painted, after) = after.split_once(PAINT_ENDS).unwrap_or((after, ""));
        match paints.next() {
            Some(paint) => text.push_str(&style.paint(paint, painted)),
            None => text.push_str(painted),
        }
        rest = after;
    }
    text.push_str(&rest.replace(PAINT_ENDS, ""));
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::State;
    use proptest::prelude::*;

    fn fleet() -> Table {
        let mut table = Table::new(&[
            Column::Word("bot"),
            Column::Word("state"),
            Column::Number("pid"),
            Column::Text("reason"),
        ]);
        let state = |state: State| Cell::painted(state.word(), Paint::of_state(state));
        table.row(["shop".into(), state(State::Running), "4711".into(), "".into()]);
        let why = "platform telegram is not built in yet";
        table.row(["news-bot".into(), state(State::Held), "".into(), why.into()]);
        table
    }

    #[test]
    fn a_pipe_gets_full_width_and_no_trailing_spaces() {
        assert_eq!(
            fleet().render(&Style::plain()),
            "BOT       STATE     PID  REASON\n\
             shop      running  4711\n\
             news-bot  held           platform telegram is not built in yet"
        );
    }

    #[test]
    fn a_terminal_gets_colours_and_wrapped_text() {
        assert_eq!(
            fleet().render(&Style::of_terminal(50)),
            "BOT       STATE     PID  REASON\n\
             shop      \x1b[32mrunning\x1b[0m  4711\n\
             news-bot  \x1b[31mheld\x1b[0m           platform telegram is\n\
             \x20                        not built in yet"
        );
    }

    #[test]
    fn words_survive_the_narrowest_terminal() {
        let shown = fleet().render(&Style::of_terminal(10));
        assert!(shown.contains("news-bot  \x1b[31mheld\x1b[0m"), "{shown}");
    }

    #[test]
    fn a_narrow_terminal_leaves_spare_columns_out_and_puts_text_below() {
        let mut table = Table::new(&[
            Column::Word("bot"),
            Column::Spare("platform"),
            Column::Word("state"),
            Column::SpareNumber("dead"),
            Column::Text("reason"),
        ]);
        let why = "probe api failed 3 times: connection refused";
        table.row([
            "news-bot".into(),
            "telegram".into(),
            Cell::painted("held", Paint::Bad),
            "12".into(),
            why.into(),
        ]);
        table.row(["shop".into(), "none".into(), "running".into(), "0".into(), "".into()]);
        assert_eq!(
            table.render(&Style::of_terminal(36)),
            "BOT       PLATFORM  STATE    DEAD\n\
             news-bot  telegram  \x1b[31mheld\x1b[0m       12\n\
             \x20   probe api failed 3 times:\n\
             \x20   connection refused\n\
             shop      none      running     0"
        );
        assert_eq!(
            table.render(&Style::of_terminal(22)).lines().next(),
            Some("BOT       STATE")
        );
        let wide = table.render(&Style::of_terminal(90));
        assert!(wide.lines().nth(1).unwrap().ends_with(why), "{wide}");
    }

    #[test]
    fn no_cell_escapes_from_its_place() {
        let mut table = Table::new(&[Column::Word("a"), Column::Text("b")]);
        table.row(["\x1b[2J\n\u{2062}".into(), Cell::painted("x\ny", Paint::Bad)]);
        assert_eq!(
            table.render(&Style::plain()),
            "A                  B\n\\x1b[2J\\n\\u{2062}  x\\ny"
        );
    }

    proptest! {
        #[test]
        fn columns_align_and_no_mark_is_left(
            cells in proptest::collection::vec(("\\PC{0,12}", "\\PC{0,60}", any::<bool>()), 0..6),
            width in 1u16..100,
        ) {
            let mut table = Table::new(&[Column::Word("a"), Column::Text("b")]);
            for (word, text, has_paint) in cells {
                let paint = |text: String| if has_paint { Cell::painted(text, Paint::Bold) } else { text.into() };
                table.row([paint(word), paint(text)]);
            }
            for style in [Style::plain(), Style::of_terminal(width)] {
                let shown = table.render(&style);
                prop_assert!(!shown.contains([PAINT_BEGINS, PAINT_ENDS]));
                prop_assert!(shown.lines().all(|line| line.trim_end() == line));
                prop_assert_eq!(shown.matches("\x1b[1m").count(), shown.matches("\x1b[0m").count());
            }
        }
    }
}
