//! Code lists in words. Texts are English; the template's labels hold the other languages.

/// Document type (UNTDID 1001).
pub(super) fn document_kind(code: &str) -> &'static str {
    match code {
        "381" | "396" | "261" | "262" | "296" | "308" | "420" | "458" | "532" => "Credit note",
        "326" => "Partial invoice",
        "384" => "Corrected invoice",
        "386" => "Prepayment invoice",
        "389" => "Self-billed invoice",
        "875" => "Partial construction invoice",
        "876" => "Partial final construction invoice",
        "877" => "Final construction invoice",
        _ => "Invoice",
    }
}

/// Whether the document gives money back.
pub(super) fn is_credit(code: &str) -> bool {
    document_kind(code) == "Credit note"
}

/// Unit of quantity (UN/ECE recommendations 20 and 21) as a word, singular and plural; `None` for
/// unknown codes, which are printed as they are.
pub(super) fn unit(code: &str) -> Option<(&'static str, &'static str)> {
    Some(match code {
        "HUR" => ("hour", "hours"),
        "MIN" => ("minute", "minutes"),
        "SEC" => ("second", "seconds"),
        "DAY" => ("day", "days"),
        "WEE" => ("week", "weeks"),
        "MON" => ("month", "months"),
        "QAN" => ("quarter", "quarters"),
        "ANN" => ("year", "years"),
        "C62" | "H87" | "EA" | "XPP" | "PCE" | "NAR" => ("piece", "pieces"),
        "XPK" | "PK" => ("package", "packages"),
        "XBX" | "BX" => ("box", "boxes"),
        "XCT" | "CT" => ("carton", "cartons"),
        "XPX" | "PF" => ("pallet", "pallets"),
        "XBO" => ("bottle", "bottles"),
        "SET" => ("set", "sets"),
        "PR" => ("pair", "pairs"),
        "DZN" => ("dozen", "dozens"),
        "LS" => ("lump sum", "lump sums"),
        "P1" => ("percent", "percent"),
        "E48" => ("service unit", "service units"),
        "KGM" => ("kg", "kg"),
        "GRM" => ("g", "g"),
        "TNE" => ("t", "t"),
        "LTR" => ("l", "l"),
        "MLT" => ("ml", "ml"),
        "MTR" => ("m", "m"),
        "CMT" => ("cm", "cm"),
        "MMT" => ("mm", "mm"),
        "KMT" | "KTM" => ("km", "km"),
        "MTK" => ("m²", "m²"),
        "MTQ" => ("m³", "m³"),
        "KWH" => ("kWh", "kWh"),
        "MWH" => ("MWh", "MWh"),
        "KWT" => ("kW", "kW"),
        "AD" => ("byte", "bytes"),
        "4L" => ("MB", "MB"),
        "E34" => ("GB", "GB"),
        _ => return None,
    })
}

/// Means of payment (UNTDID 4461).
pub(super) fn payment_means(code: &str) -> Option<&'static str> {
    Some(match code {
        "10" => "Cash",
        "20" => "Cheque",
        "30" => "Credit transfer",
        "31" => "Debit transfer",
        "42" => "Payment to bank account",
        "48" => "Bank card",
        "49" => "Direct debit",
        "54" => "Credit card",
        "55" => "Debit card",
        "57" => "Standing agreement",
        "58" => "SEPA credit transfer",
        "59" => "SEPA direct debit",
        "68" => "Online payment service",
        "97" => "Clearing between partners",
        "ZZZ" => "Agreed between the parties",
        _ => return None,
    })
}

/// VAT category (UNTDID 5305).
pub(super) fn vat_category(code: &str) -> &str {
    match code {
        "S" => "Taxable",
        "Z" => "Zero rate",
        "E" => "Exempt from VAT",
        "AE" => "Reverse charge: VAT is owed by the buyer",
        "K" => "Intra-community supply",
        "G" => "Export outside the EU",
        "O" => "Not subject to VAT",
        "L" => "Canary Islands general indirect tax",
        "M" => "Tax in Ceuta and Melilla",
        other => other,
    }
}

/// A note whose subject stands in front as a code (`#ADU#…`): the subject in words, or the code.
pub(super) fn note(note: &str, label: impl Fn(&str) -> String) -> String {
    let parts = note.strip_prefix('#').and_then(|rest| rest.split_once('#'));
    let Some((code, text)) = parts.filter(|(code, _)| is_subject(code)) else { return note.to_owned() };
    let subject = match code {
        "AAI" => "General information",
        "ABL" => "Legal information",
        "ADU" => "Note",
        "CUS" => "Customs information",
        "PMT" => "Payment information",
        "REG" => "Regulatory information",
        "SUR" => "Seller's remarks",
        "TXD" => "Tax information",
        other => return format!("{other}: {}", text.trim()),
    };
    format!("{}: {}", label(subject), text.trim())
}

fn is_subject(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())
}

/// Name of a country; unknown codes and names stay as they are.
pub(super) fn country(text: &str) -> &str {
    match text {
        "AT" => "Austria",
        "BE" => "Belgium",
        "BG" => "Bulgaria",
        "CA" => "Canada",
        "CH" => "Switzerland",
        "CN" => "China",
        "CY" => "Cyprus",
        "CZ" => "Czechia",
        "DE" => "Germany",
        "DK" => "Denmark",
        "EE" => "Estonia",
        "ES" => "Spain",
        "FI" => "Finland",
        "FR" => "France",
        "GB" => "United Kingdom",
        "GR" => "Greece",
        "HR" => "Croatia",
        "HU" => "Hungary",
        "IE" => "Ireland",
        "IT" => "Italy",
        "JP" => "Japan",
        "LI" => "Liechtenstein",
        "LT" => "Lithuania",
        "LU" => "Luxembourg",
        "LV" => "Latvia",
        "MT" => "Malta",
        "NL" => "Netherlands",
        "NO" => "Norway",
        "PL" => "Poland",
        "PT" => "Portugal",
        "RO" => "Romania",
        "SE" => "Sweden",
        "SI" => "Slovenia",
        "SK" => "Slovakia",
        "US" => "United States",
        other => other,
    }
}
