//! Pure: the QR code of a link as SVG, dark on light in both themes, because cameras expect that.

use fast_qr::convert::{Builder as _, Shape, svg::SvgBuilder};
use fast_qr::{ECL, QRBuilder};

/// Bytes. A longer text makes modules too small for a camera that looks at a screen.
pub const QR_TEXT_MAX: usize = 512;

/// `None` above `QR_TEXT_MAX`. The quiet zone of four modules (ISO/IEC 18004) is part of the picture.
pub fn qr_svg(text: &str) -> Option<String> {
    if text.len() > QR_TEXT_MAX {
        return None;
    }
    let code = QRBuilder::new(text).ecl(ECL::M).build().ok()?;
    Some(SvgBuilder::default().margin(4).shape(Shape::Square).to_str(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_the_modules_and_nothing_of_the_text() {
        let text = "https://192.168.1.20/r/quiet-otter?<script>&\"'";
        let svg = qr_svg(text).unwrap();
        let size = QRBuilder::new(text).ecl(ECL::M).build().unwrap().size + 8;
        assert!(svg.starts_with("<svg ") && svg.contains(&format!("viewBox=\"0 0 {size} {size}\"")), "{}", &svg[..200]);
        assert!(!svg.contains("script") && !svg.contains("style=") && !svg.contains("otter"));
    }

    #[test]
    fn what_no_camera_could_read_is_not_drawn() {
        assert!(qr_svg(&"a".repeat(QR_TEXT_MAX)).is_some());
        assert!(qr_svg(&"a".repeat(QR_TEXT_MAX + 1)).is_none());
    }
}
