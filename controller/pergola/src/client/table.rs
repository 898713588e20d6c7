//! Tables for people; JSON and YAML for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, presets};
use serde_json::Value;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    Json,
    Yaml,
}

/// `-o table|json|yaml`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Output {
    /// How to write the answer.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

/// Writes a value for programs; for people, what `table` makes of it.
pub fn write(out: &mut dyn Write, format: Format, value: &Value, table: impl FnOnce() -> String) -> io::Result<()> {
    match format {
        Format::Table => out.write_all(table().as_bytes()),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, value)?;
            writeln!(out)
        }
        Format::Yaml => out.write_all(yaml(value).as_bytes()),
    }
}

/// A value as YAML, with a line's end.
pub fn yaml(value: &Value) -> String {
    let mut text = match serde_saphyr::to_string(value) {
        Ok(text) => text,
        // JSON is YAML too.
        Err(_) => value.to_string(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Lines with columns. Columns of numbers are set to the right; on a terminal, long cells are wrapped and states coloured.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return "nothing\n".into();
    }
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().copied());
    let columns = header.len();
    let numbers: Vec<bool> = (0..columns)
        .map(|column| {
            let cells = || rows.iter().filter_map(|row| row.get(column)).filter(|cell| *cell != "-");
            cells().next().is_some() && cells().all(|cell| cell.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    for row in rows {
        table.add_row(row.into_iter().map(|text| match tone(&text) {
            Some(color) if !plain => Cell::new_owned(text).fg(color),
            _ => Cell::new_owned(text),
        }));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index + 1 == columns { 0 } else { 2 }));
        if numbers.get(index).copied().unwrap_or_default() {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

fn tone(text: &str) -> Option<Color> {
    match text {
        "up" | "primary" => Some(Color::Green),
        "down" | "lost" | "unseen" => Some(Color::Red),
        _ if text.starts_with("wrong cable") => Some(Color::Red),
        _ => None,
    }
}

/// A list, or `-` for none.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "-".into() } else { items.join(", ") }
}

/// A value, or `-` for none.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

pub fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.into()
}

/// Bits a second with the unit that suits.
pub fn speed(bps: u64) -> String {
    for (unit, size) in [("T", 1_000_000_000_000), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)] {
        if bps >= size {
            let tenths = bps / (size / 10);
            return match tenths % 10 {
                0 => format!("{}{unit}", tenths / 10),
                rest => format!("{}.{rest}{unit}", tenths / 10),
            };
        }
    }
    bps.to_string()
}

/// How long ago a time was; both in milliseconds since the Unix epoch, 0 for never.
pub fn ago(now_ms: u64, then_ms: u64) -> String {
    if then_ms == 0 {
        return "-".into();
    }
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let rows = vec![
            vec!["leaf1/3".into(), "10".into(), "up".into()],
            vec!["leaf1/12".into(), "-".into(), "down".into()],
            vec!["x".into(), "4000".into(), String::new()],
        ];
        assert_eq!(
            table(&["PORT", "VLAN", "STATE"], rows),
            "PORT      VLAN  STATE\nleaf1/3     10  up\nleaf1/12     -  down\nx         4000\n"
        );
        assert_eq!(table(&["A"], Vec::new()), "nothing\n");
    }

    #[test]
    fn speeds_and_ages() {
        assert_eq!(speed(10_000_000_000), "10G");
        assert_eq!(speed(2_500_000_000), "2.5G");
        assert_eq!(speed(999), "999");
        assert_eq!(ago(10_000, 0), "-");
        assert_eq!(ago(10_000, 5_000), "5s");
        assert_eq!(ago(65_000, 1), "1m04s");
        assert_eq!(ago(7_300_000, 10), "2h01m");
        assert_eq!(ago(0, 5_000), "0s");
    }

    #[test]
    fn yaml_keeps_strings_that_look_like_numbers() {
        let value = json!({ "eth_type": "0x0800", "l4_dst": "80", "mac": "02:00:00:00:00:01", "n": 7 });
        let back: Value = serde_saphyr::from_str(&yaml(&value)).unwrap();
        assert_eq!(back, value);
    }
}
