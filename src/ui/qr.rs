//! Pure: a QR code as lines of text, light on dark as terminals are: half blocks where the locale has them, two characters a module elsewhere.

use fast_qr::QRBuilder;

/// Modules of white around the code (ISO/IEC 18004 asks for 4; cameras read 2 and small terminals thank for it).
const QUIET: usize = 2;

/// Lines without a trailing newline; empty when the text is too long for any QR code (about 2 KiB).
pub(crate) fn qr(text: &str, unicode: bool) -> String {
    let Ok(code) = QRBuilder::new(text).ecl(fast_qr::ECL::L).build() else { return String::new() };
    let side = code.size + 2 * QUIET;
    let light = |row: usize, column: usize| {
        let inside = (QUIET..QUIET + code.size).contains(&row) && (QUIET..QUIET + code.size).contains(&column);
        row < side && !(inside && code[row - QUIET][column - QUIET].value())
    };
    let lines: Vec<String> = if unicode {
        let half = |row, column| match (light(row, column), light(row + 1, column)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..side).step_by(2).map(|row| (0..side).map(|column| half(row, column)).collect()).collect()
    } else {
        (0..side).map(|row| (0..side).map(|column| if light(row, column) { "##" } else { "  " }).collect()).collect()
    };
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::qr;

    #[test]
    fn both_drawings_show_the_same_modules() {
        let (blocks, ascii) = (qr("https://192.168.1.20/", true), qr("https://192.168.1.20/", false));
        let ascii: Vec<Vec<bool>> = ascii.lines().map(|line| line.as_bytes().chunks(2).map(|pair| pair == b"##").collect()).collect();
        let side = ascii.len();
        assert!(side >= 25 && ascii.iter().all(|row| row.len() == side), "square");
        for (number, line) in blocks.lines().enumerate() {
            assert_eq!(line.chars().count(), side);
            for (column, block) in line.chars().enumerate() {
                let lower = ascii.get(2 * number + 1).is_some_and(|row| row[column]);
                assert_eq!((ascii[2 * number][column], lower), (matches!(block, '█' | '▀'), matches!(block, '█' | '▄')));
            }
        }
        // The upper left finder: a dark ring of 7 around a light one around a dark square of 3.
        let finder: Vec<bool> = (2..9).map(|column| ascii[5][column]).collect();
        assert_eq!(finder, [false, true, false, false, false, true, false]);
        assert_eq!(qr(&"x".repeat(8000), true), "");
    }
}
