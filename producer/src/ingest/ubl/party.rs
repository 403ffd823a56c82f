//! Parties and addresses of a UBL document.

use serde_json::{Map, Value};

use super::reader::{Reader, identifier, put, put_list, put_map};
use crate::ingest::xml::Xml;

/// Scheme of the identifier that a creditor has for direct debits (BT-90); it belongs to the mandate.
pub(super) const SCHEME_SEPA: &str = "SEPA";

/// A party whose name stands at `name_path`. Where only its other name is given, that one is taken.
pub(super) fn party(
    r: &mut Reader,
    party: Xml<'_>,
    name_path: &'static str,
    term: &str,
) -> Map<String, Value> {
    let mut data = Map::new();
    let trading = party.text("cac:PartyName/cbc:Name");
    let legal = party.text("cac:PartyLegalEntity/cbc:RegistrationName");
    let name = party.text(name_path).or_else(|| legal.clone()).or_else(|| trading.clone());
    if name.is_none() {
        r.missing(party, name_path, term);
    }
    put(&mut data, "name", name.clone());
    put(&mut data, "trading_name", trading.filter(|trading| Some(trading) != name.as_ref()));
    let ids = party.all("cac:PartyIdentification").filter_map(|p| p.at("cbc:ID"));
    let ids = ids.filter(|id| id.attribute("schemeID") != Some(SCHEME_SEPA));
    put_list(&mut data, "ids", ids.filter_map(identifier).collect());
    let tax = |vat: bool| {
        party
            .all("cac:PartyTaxScheme")
            .find(|t| t.text("cac:TaxScheme/cbc:ID").is_some_and(|id| id.eq_ignore_ascii_case("VAT")) == vat)
            .and_then(|t| t.text("cbc:CompanyID"))
    };
    put(&mut data, "vat_id", tax(true));
    put(&mut data, "tax_id", tax(false));
    put(&mut data, "legal_id", party.at("cac:PartyLegalEntity/cbc:CompanyID").and_then(identifier));
    put(&mut data, "legal_form", party.text("cac:PartyLegalEntity/cbc:CompanyLegalForm"));
    if let Some(at) = party.at("cac:PostalAddress") {
        put_map(&mut data, "address", address(at));
    }
    if let Some(at) = party.at("cac:Contact") {
        put_map(&mut data, "contact", contact(at));
    }
    put(&mut data, "electronic_address", party.at("cbc:EndpointID").and_then(identifier));
    data
}

/// A postal address.
pub(super) fn address(at: Xml<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    put(&mut data, "street", at.text("cbc:StreetName"));
    put(&mut data, "additional", at.text("cbc:AdditionalStreetName"));
    put(&mut data, "line3", at.text("cac:AddressLine/cbc:Line"));
    put(&mut data, "postcode", at.text("cbc:PostalZone"));
    put(&mut data, "city", at.text("cbc:CityName"));
    put(&mut data, "region", at.text("cbc:CountrySubentity"));
    let country = at.text("cac:Country/cbc:IdentificationCode");
    put(&mut data, "country", country.or_else(|| at.text("cac:Country/cbc:Name")));
    data
}

fn contact(at: Xml<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    put(&mut data, "name", at.text("cbc:Name"));
    put(&mut data, "phone", at.text("cbc:Telephone"));
    put(&mut data, "email", at.text("cbc:ElectronicMail"));
    data
}
