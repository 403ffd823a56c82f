//! The few words and number signs a writer adds itself, in the document's language.
//!
//! Everything else in a document comes from its tree. An unknown language gets English words, as
//! its readers are likelier to know them than any other.

use crate::CalloutKind;

/// Words and signs of one language.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels {
    /// Primary language subtag.
    pub lang: &'static str,
    /// Page footer, before the page number.
    pub page: &'static str,
    /// Page footer, between page number and page count.
    pub of: &'static str,
    /// Heading of the notes.
    pub notes: &'static str,
    /// Under a line to sign on, left.
    pub place_date: &'static str,
    /// Under a line to sign on, right.
    pub signature: &'static str,
    /// First column of a chart's table.
    pub category: &'static str,
    /// Opens a chart's table in HTML.
    pub chart_data: &'static str,
    /// The rest of a pie.
    pub other: &'static str,
    /// Link from a note back to its mark.
    pub back: &'static str,
    /// Unit prefix for values shown in millions.
    pub million: &'static str,
    /// Unit prefix for values shown in billions (10⁹).
    pub billion: &'static str,
    /// Decimal sign.
    pub decimal: char,
    /// Sign between groups of three digits.
    pub group: char,
    callouts: [&'static str; 4],
}

impl Labels {
    /// The labels of a BCP 47 tag.
    pub fn of(tag: &str) -> &'static Self {
        let primary = tag.split('-').next().unwrap_or_default();
        ALL.iter().find(|labels| labels.lang.eq_ignore_ascii_case(primary)).unwrap_or(&ALL[0])
    }

    /// The word for a kind of callout.
    pub fn callout(&self, kind: CalloutKind) -> &'static str {
        match kind {
            CalloutKind::Info => self.callouts[0],
            CalloutKind::Success => self.callouts[1],
            CalloutKind::Warning => self.callouts[2],
            CalloutKind::Danger => self.callouts[3],
        }
    }

    /// A number with grouped digits and this many decimals.
    pub fn number(&self, value: f64, decimals: usize) -> String {
        let plain = format!("{:.decimals$}", value.abs());
        let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
        let mut out = String::with_capacity(plain.len() + 4);
        // A rounded zero has no sign.
        if value < 0.0 && plain.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
            out.push('\u{2212}');
        }
        for (index, digit) in whole.chars().enumerate() {
            if index > 0 && (whole.len() - index).is_multiple_of(3) {
                out.push(self.group);
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push(self.decimal);
            out.push_str(fraction);
        }
        out
    }
}

static ALL: [Labels; 8] = [
    Labels {
        lang: "en",
        page: "Page",
        of: "of",
        notes: "Notes",
        place_date: "Place, date",
        signature: "Signature",
        category: "Category",
        chart_data: "Data of the chart",
        other: "Other",
        back: "Back to the text",
        million: "million",
        billion: "billion",
        decimal: '.',
        group: ',',
        callouts: ["Note", "Success", "Warning", "Danger"],
    },
    Labels {
        lang: "de",
        page: "Seite",
        of: "von",
        notes: "Anmerkungen",
        place_date: "Ort, Datum",
        signature: "Unterschrift",
        category: "Kategorie",
        chart_data: "Daten des Diagramms",
        other: "Übrige",
        back: "Zurück zum Text",
        million: "Mio.",
        billion: "Mrd.",
        decimal: ',',
        group: '.',
        callouts: ["Hinweis", "Erfolg", "Warnung", "Gefahr"],
    },
    Labels {
        lang: "fr",
        page: "Page",
        of: "sur",
        notes: "Notes",
        place_date: "Lieu, date",
        signature: "Signature",
        category: "Catégorie",
        chart_data: "Données du graphique",
        other: "Autres",
        back: "Retour au texte",
        million: "millions",
        billion: "milliards",
        decimal: ',',
        group: '\u{A0}',
        callouts: ["Remarque", "Succès", "Attention", "Danger"],
    },
    Labels {
        lang: "es",
        page: "Página",
        of: "de",
        notes: "Notas",
        place_date: "Lugar y fecha",
        signature: "Firma",
        category: "Categoría",
        chart_data: "Datos del gráfico",
        other: "Otros",
        back: "Volver al texto",
        million: "millones",
        billion: "miles de millones",
        decimal: ',',
        group: '.',
        callouts: ["Nota", "Éxito", "Advertencia", "Peligro"],
    },
    Labels {
        lang: "it",
        page: "Pagina",
        of: "di",
        notes: "Note",
        place_date: "Luogo e data",
        signature: "Firma",
        category: "Categoria",
        chart_data: "Dati del grafico",
        other: "Altro",
        back: "Torna al testo",
        million: "milioni",
        billion: "miliardi",
        decimal: ',',
        group: '.',
        callouts: ["Nota", "Successo", "Attenzione", "Pericolo"],
    },
    Labels {
        lang: "nl",
        page: "Pagina",
        of: "van",
        notes: "Noten",
        place_date: "Plaats, datum",
        signature: "Handtekening",
        category: "Categorie",
        chart_data: "Gegevens van de grafiek",
        other: "Overige",
        back: "Terug naar de tekst",
        million: "miljoen",
        billion: "miljard",
        decimal: ',',
        group: '.',
        callouts: ["Opmerking", "Succes", "Waarschuwing", "Gevaar"],
    },
    Labels {
        lang: "pt",
        page: "Página",
        of: "de",
        notes: "Notas",
        place_date: "Local e data",
        signature: "Assinatura",
        category: "Categoria",
        chart_data: "Dados do gráfico",
        other: "Outros",
        back: "Voltar ao texto",
        million: "milhões",
        billion: "mil milhões",
        decimal: ',',
        group: '.',
        callouts: ["Nota", "Sucesso", "Aviso", "Perigo"],
    },
    Labels {
        lang: "pl",
        page: "Strona",
        of: "z",
        notes: "Przypisy",
        place_date: "Miejscowość, data",
        signature: "Podpis",
        category: "Kategoria",
        chart_data: "Dane wykresu",
        other: "Pozostałe",
        back: "Wróć do tekstu",
        million: "mln",
        billion: "mld",
        decimal: ',',
        group: '\u{A0}',
        callouts: ["Uwaga", "Sukces", "Ostrzeżenie", "Zagrożenie"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_language() {
        assert_eq!(Labels::of("en-GB").number(1_234_567.5, 2), "1,234,567.50");
        assert_eq!(Labels::of("de-DE").number(-1234.0, 0), "\u{2212}1.234");
        assert_eq!(Labels::of("fr").number(999.0, 1), "999,0");
        assert_eq!(Labels::of("xx").number(-0.001, 2), "0.00");
    }
}
