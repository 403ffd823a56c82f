//! The embedded fonts and what they can show.
//!
//! A glyph that is missing is an error under PDF/A and PDF/UA, so coverage is known before layout.

use typst::foundations::Bytes;
use typst::text::Font;

/// Inter for text; DejaVu Sans for scripts and symbols it lacks; DejaVu Sans Mono for code.
const FILES: [&[u8]; 7] = [
    include_bytes!("../fonts/inter/Inter-Regular.otf"),
    include_bytes!("../fonts/inter/Inter-Italic.otf"),
    include_bytes!("../fonts/inter/Inter-SemiBold.otf"),
    include_bytes!("../fonts/inter/Inter-SemiBoldItalic.otf"),
    include_bytes!("../fonts/dejavu/DejaVuSans.ttf"),
    include_bytes!("../fonts/dejavu/DejaVuSansMono.ttf"),
    include_bytes!("../fonts/dejavu/DejaVuSansMono-Bold.ttf"),
];

/// Stands for a character no font has.
pub(crate) const REPLACEMENT: char = '□';

/// The embedded faces.
pub(crate) fn embedded() -> Vec<Font> {
    FILES.iter().flat_map(|file| Font::iter(Bytes::new(*file))).collect()
}

/// The faces in a font file.
pub(crate) fn faces(file: Vec<u8>) -> impl Iterator<Item = Font> {
    Font::iter(Bytes::new(file))
}

/// Which characters some face can show.
pub(crate) struct Coverage {
    /// One bit per code point; a lookup happens for every character of every document.
    bits: Vec<u64>,
}

impl Coverage {
    /// What these faces can show together.
    pub(crate) fn new(fonts: &[Font]) -> Self {
        let mut bits = vec![0_u64; 0x11_0000 / 64];
        for font in fonts {
            for point in font.info().coverage.iter() {
                if let Some(word) = bits.get_mut(point as usize / 64) {
                    *word |= 1 << (point % 64);
                }
            }
        }
        Self { bits }
    }

    /// Whether a character can be shown. Private characters mean something else in every font and
    /// are not allowed in PDF/A.
    pub(crate) fn has(&self, c: char) -> bool {
        let point = u32::from(c);
        let private = matches!(point, 0xE000..=0xF8FF | 0xF_0000..);
        !private && self.bits.get(point as usize / 64).is_some_and(|word| word >> (point % 64) & 1 == 1)
    }
}
