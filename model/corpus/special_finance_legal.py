"""Grammars of the invoice and the contract."""

from facts import lines

INVOICE_FACTS = "seller buyer invoice_number issue_date due_date payable iban reference".split()
CONTRACT_FACTS = "party_a party_b subject start_date end_date fee governing_law notice_period".split()


def sec(headings, facts, open_, mid, close, must=()):
    return {"heads": headings, "facts": facts, "must": must,
            "open": lines(open_), "mid": lines(mid), "close": lines(close)}


INVOICE = [
    sec(["Covering note"],
        INVOICE_FACTS[:6],
        """
        Please find enclosed invoice [invoice_number] from [seller] dated [issue_date].
        [seller] sends you invoice [invoice_number] of [issue_date] for the agreed services.
        With this letter, [seller] sends invoice [invoice_number] to [buyer].
        Thank you for your order, for which we enclose invoice [invoice_number].
        Thank you for the good cooperation with [seller].
        [buyer] receives invoice [invoice_number] for the agreed services.
        Dear colleagues at [buyer], please find enclosed our invoice [invoice_number].
        [seller] thanks [buyer] for the order and for the good cooperation.
        We enclose the invoice for the services that we agreed with [buyer].
        Please find enclosed the invoice from [seller] to [buyer].
        Please find enclosed our invoice of [issue_date].
        Please find enclosed the invoice for the agreed goods and services.
        Thank you for your order and for your trust in our work.
        This invoice covers the goods and services that were delivered as agreed.
        The enclosed invoice for [payable] covers the services delivered to [buyer].
        """,
        """
        The amount payable is [payable] and is due on [due_date].
        Please transfer [payable] by [due_date].
        Please pay the amount of [payable] by [due_date] at the latest.
        The total of [payable] is due for payment on [due_date].
        The amount payable is [payable].
        The total amount comes to [payable].
        Please transfer the amount of [payable] to the account stated on the invoice.
        Payment is due on [due_date].
        We ask you to settle the amount by [due_date].
        The invoice was issued on [issue_date].
        It was issued by [seller] on [issue_date].
        It is addressed to [buyer].
        The invoice is addressed to [buyer] and was issued on [issue_date].
        Please quote [invoice_number] when you make the payment.
        The number [invoice_number] helps us to match your payment quickly.
        All positions and the applicable taxes are listed in the table.
        The table shows each position with its quantity and price.
        The payment terms apply as agreed.
        The services were delivered completely and on time.
        Please check the details and let us know if anything is missing.
        """,
        """
        Thank you for your prompt payment.
        If you have any questions, [seller] will be glad to help.
        If you have any questions about this invoice, please contact us.
        We thank [buyer] for the good cooperation and look forward to the next order.
        Thank you for your trust and for the good cooperation.
        We look forward to working with you again.
        Please keep this invoice for your records.
        """),
    sec(["Payment terms"],
        ["payable", "due_date", "iban", "reference", "invoice_number", "seller", "issue_date", "buyer"],
        """
        Please pay [payable] by [due_date] without deduction.
        The amount of [payable] is due on [due_date].
        Payment of [payable] is due by [due_date].
        The invoice amount of [payable] is payable without deduction.
        Please transfer [payable] to the account [iban].
        Payment is due by [due_date] without any deduction.
        Please settle this invoice by [due_date].
        The agreed payment terms apply to this invoice.
        Payment is to be made by bank transfer without deduction.
        Please transfer the amount to [iban].
        [buyer] is asked to pay the amount of [payable].
        """,
        """
        Please transfer the amount to the account [iban] and quote [reference].
        The payment should be made to the account [iban].
        Please use the account [iban] for the transfer.
        Please quote [reference] with your payment.
        The reference [reference] helps us to match your payment.
        Please state [invoice_number] as the purpose of the payment.
        The deadline counts from the invoice date, which is [issue_date].
        The account holder is [seller].
        The payment is made to [seller].
        The amount must be received in full by [due_date].
        The amount to be transferred is [payable].
        Bank charges are paid by the customer.
        If the payment is late, interest may be charged as provided by law.
        The goods remain the property of the seller until full payment has been received.
        Partial payments need our agreement in advance.
        Discounts that were not agreed cannot be accepted.
        """,
        """
        If you cannot keep the date, please contact us in good time.
        Thank you for paying on time.
        If you have already paid, please disregard this request.
        Questions about the payment will be answered by our accounts team.
        With your payment, this invoice is settled in full.
        """),
]

CONTRACT = [
    sec(["Purpose", "Purpose of the agreement", "Purpose of this contract"],
        CONTRACT_FACTS,
        """
        [party_a] and [party_b] conclude this contract on [subject].
        This contract between [party_a] and [party_b] governs the cooperation on [subject].
        The purpose of this contract is to set out the terms for [subject].
        With this contract, [party_a] engages [party_b] for [subject].
        [party_a] and [party_b] wish to work together on [subject] and agree on the following terms.
        The parties to this contract are [party_a] and [party_b].
        This contract sets out the rights and duties of [party_a] and [party_b].
        This contract describes the terms on which the parties work together.
        The subject of this contract is [subject].
        """,
        """
        The contract begins on [start_date] and ends on [end_date].
        It takes effect on [start_date].
        It remains in force until [end_date].
        The contract runs from [start_date] to [end_date].
        For the services, [party_a] pays a fee of [fee].
        The agreed fee is [fee].
        It is governed by [governing_law].
        The contract is subject to [governing_law].
        Either party may end the contract with a notice period of [notice_period].
        The notice period is [notice_period].
        The services relate to [subject].
        [party_b] provides the services with due care.
        Both parties act in good faith and support each other.
        The contract reflects the common understanding of both parties.
        Rights and duties are described in the following sections.
        Earlier oral agreements are replaced by this contract.
        """,
        """
        Changes and additions must be made in writing.
        The following sections describe the details.
        Both parties confirm that they have read and understood these terms.
        Both parties enter into this contract in good faith.
        """),
    sec(["Scope of services", "Services", "Scope of work"],
        CONTRACT_FACTS,
        """
        [party_b] provides all services that are necessary for [subject].
        The services of [party_b] include planning, carrying out and documenting [subject].
        The scope of services covers [subject] with all agreed tasks.
        For [party_a], [party_b] carries out the work on [subject].
        The contract covers all services in connection with [subject].
        [party_b] provides the services described in this contract to [party_a].
        The scope of services is defined by this contract and its annexes.
        [party_b] carries out the agreed services with qualified staff.
        """,
        """
        The services begin on [start_date] and are completed by [end_date].
        The work starts on [start_date].
        All services are to be completed by [end_date].
        The services are covered by the agreed fee of [fee].
        For the complete scope, [party_a] pays [fee].
        [party_a] receives regular reports on the progress of the work.
        [party_b] names a contact person who coordinates the work.
        The services are carried out for [party_a].
        The work relates to [subject].
        The services are subject to [governing_law].
        The notice period of [notice_period] also applies to single services.
        The services are carried out with due care and according to accepted standards.
        Additional services need a separate written agreement.
        Services that are not listed here are not part of the scope.
        Results are handed over in a complete and usable form.
        Defects are corrected within a reasonable time and at no extra cost.
        Subcontractors may be used only with written consent.
        """,
        """
        Changes to the scope are agreed in writing before the work begins.
        The client checks and accepts the results without delay.
        Both parties confirm the completion of the services in writing.
        """),
    sec(["Cooperation", "Cooperation between the parties", "Duties of the parties"],
        CONTRACT_FACTS,
        """
        [party_a] and [party_b] work together in a spirit of trust.
        For [subject], [party_a] and [party_b] cooperate closely and openly.
        Successful work on [subject] depends on the cooperation of both parties.
        [party_a] supports [party_b] by providing all necessary information in good time.
        [party_b] informs [party_a] regularly about the progress of the work.
        Both parties support each other in carrying out this contract.
        The parties cooperate in all matters that concern [subject].
        """,
        """
        [party_a] provides the information and access that are needed for the work.
        [party_b] reports any delay to [party_a] without being asked.
        Each party names a contact person for all questions about [subject].
        Each party names a contact person who can make decisions.
        Regular meetings take place from [start_date] until [end_date].
        The cooperation starts on [start_date].
        The cooperation ends on [end_date] unless both parties agree to extend it.
        All support by the client is included in the agreed fee of [fee].
        The fee of [fee] covers regular meetings and reports.
        Disagreements are settled under [governing_law].
        If cooperation fails, each party may give notice of [notice_period].
        Problems are discussed early and solved together.
        Important decisions are recorded in writing.
        Delays caused by one party extend the deadlines of the other party accordingly.
        Documents are handed over in good time and in complete form.
        If a contact person changes, the other party is informed at once.
        """,
        """
        Disputes are first discussed between the responsible managers.
        Both parties aim for a long and fair relationship.
        In this way, open questions can be settled quickly.
        """),
    sec(["Confidentiality", "Confidential information"],
        CONTRACT_FACTS,
        """
        [party_a] and [party_b] treat all confidential information with care.
        Information about [subject] that is not public is confidential.
        [party_a] and [party_b] keep all information about [subject] confidential.
        [party_b] may use the information of [party_a] only for the purpose of this contract.
        Each party protects the confidential information of the other party.
        All information exchanged under this contract is treated as confidential.
        """,
        """
        This duty begins on [start_date] and continues after [end_date].
        The duty of confidentiality continues beyond [end_date].
        It applies from [start_date].
        It also covers the agreed fee of [fee].
        The statutory duties under [governing_law] remain unaffected.
        It remains in force even if the contract is ended with notice of [notice_period].
        [party_b] binds its staff to confidentiality in writing.
        [party_a] marks confidential documents clearly.
        Employees and subcontractors are bound to the same duty.
        Information may be passed on only with the written consent of the other party.
        Information that is public or was already known is not covered.
        Copies are returned or destroyed at the end of the contract.
        Personal data is handled in accordance with the applicable law.
        Disclosures required by law are announced in advance where possible.
        """,
        """
        This duty continues after the end of the contract.
        Each party is liable for breaches by its own staff.
        In case of doubt, information is treated as confidential.
        """),
    sec(["Summary", "Summary of the agreement", "In brief"],
        CONTRACT_FACTS,
        """
        [party_a] and [party_b] have agreed on a contract for [subject].
        In short, [party_b] provides services for [subject] to [party_a].
        This contract settles the terms for [subject] between [party_a] and [party_b].
        With this contract, [party_a] and [party_b] agree on clear terms.
        This summary lists the main terms of the contract on [subject].
        The contract sets out clear terms for both parties.
        """,
        """
        It runs from [start_date] to [end_date] for a fee of [fee].
        The contract begins on [start_date].
        It ends on [end_date].
        The term runs from [start_date] to [end_date].
        The fee amounts to [fee].
        The agreed fee is [fee], and the notice period is [notice_period].
        The law that applies is [governing_law].
        The contract is governed by [governing_law] and may be ended with notice of [notice_period].
        Notice may be given with a period of [notice_period].
        The client is [party_a], and the provider is [party_b].
        The services relate to [subject].
        Confidential information is protected during and after the contract.
        Both parties cooperate closely and inform each other in good time.
        Additional services need a separate agreement.
        Changes must be made in writing.
        """,
        """
        The full terms are set out in the individual sections.
        The contract takes effect when both parties have signed it.
        If the summary and the sections differ, the sections prevail.
        """),
]
