"""Turns of phrase that show who pays, who is paid, which sum counts, and whether anything is asked.

They are matched against a mail in which names are `N`, sums `M`, dates `D`, references `R` and line
ends `¶`, all else is in lower case, and the mention in question is `@`. A pattern is evidence with a
weight that training finds, not a rule.
"""

import re

_DET = r"(?:the |our |my |his |her |their |your |its |this |that |a |mr |mrs |ms |miss |dr |prof |sir |m \/ s |shri |smt |herr |frau |pan |pani |\. |\" |' )*"
_IS = r"(?: is| are| was| will be| would be| being|'s| has to be| should be| must be| shall be)?"
_SEP = r"(?: :| -| –| =| \||\.)*(?: ¶)? "
_MODAL = r"(?:is to |are to |to |must |must now |shall |should |will |would |can |could |may |might |has to |have to |needs to |wants to |agreed to |is going to |ought to |shld |please |pls |therefore |now |still |also |itself |directly |then |'ll |'d )*"

PARTY: dict[str, str] = {
    # the payer
    "from": rf"\b(?:from|out of|off|debiting|via) {_DET}(?:account of |a \/ c of |funds of |books of |purse of |savings of |name of )?{_DET}@",
    "account-of": rf"\b(?:account|acct|acc|a \/ c|books|funds|purse|budget|card|money|estate|expense|cost|costs|charge) of {_DET}(?:late )?@",
    "'s-account": r"@ (?:'s )?(?:\w+ ){0,2}?(?:account|accounts|acct|acc|a \/ c|pot|budget|card|purse|tab|book|books|fund|funds|savings|ledger|kitty|float|money|side|current)\b",
    "debit": rf"\b(?:debit|debited|debiting|dr|charge|charged|chargeable|bill|billed|burden|deduct|draw|drawn|book|booked|put|stick|post|set)(?: \w+){{0,3}}?{_IS}{_SEP}?(?:to|on|against|from|upon|for)? ?{_DET}@",
    "debit-direct": rf"\b(?:debit|debiting|charge|dr)(?: :)? {_DET}@",
    "be-debited": r"@ (?:\w+ ){0,3}?(?:to be |be )?(?:debited|charged|billed|chargeable|liable)",
    "account-to-be-debited": rf"\b(?:debited|charged|billed|debit|charge)\b[^¶]{{0,20}}(?: is| :) {_DET}@",
    "pays": rf"@ (?:\( [^)]* \) |, [^,¶]* , )?{_MODAL}(?:pay|pays|paying|cover|covers|covering|settle|settles|settling|foot|foots|fund|funds|stump|cough|coughs|reimburse|reimburses|refund|refunds|repay|repays|advance|advances|bear|bears|transfer|transfers|send|sends|remit|remits|give|gives|handle|handles|pick|picks|picking|stands|stand|sponsor|sponsors|contribute|contributes|discharge|return|returns|indemnify|spare|honour|take it|takes it)\b",
    "owes": r"@ (?:still |now |also |therefore )?(?:owes|owe|owed us|is owing|is in arrears|is liable)\b",
    "has-the-money": r"@ (?:has|have|had) (?:the |a )?(?:budget|money|funds)",
    "can-pay": rf"\b(?:can|could|let|have|get|ask|tell|would|shouldn't|should|make|will|remind) {_DET}@ (?:\w+ ){{0,3}}?(?:pay|send|transfer|settle|cover|handle|take|pick|spare|knock|be|return|refund|please|remit|sort|release)",
    "on-behalf": rf"\b(?:on behalf of|by order of|order of|by the order of|for account of|for the account of|by order and for account of|in the name of|acting for|pp|per pro) {_DET}@",
    "payer-label": rf"\b(?:payer|debtor|remitter|ordering party|ordering customer|ordering account|applicant|drawer|sender|client|customer|buyer|purchaser|tenant|invoicee|bill to|billed to|bill - to|invoice to|invoiced to|invoice for|sold to|ship to|made out to|addressed to|issued to|charge to|charged to|charge which fund|source of funds|payor|from|paid by|paying company|company paying|paying entity|our entity|entity|company|debit account|account to debit|kunde|płatnik|pagador|zahler|auftraggeber|debiteur|on account of|cost centre|for the attention of|member|insured|policyholder|consignee|lessee|hirer|recipient of the invoice|nabywca|acheteur|client name|patient|grantor|employer|donor|sponsor|owner)(?: \))?{_IS}{_SEP}{_DET}@",
    "belongs": rf"\b(?:money|funds|sum|cash|it|this|that|cost|costs|expense|bill|share|rest|remainder|excess|liability)(?: \w+)? (?:belongs? to|is on|falls on|falls to|lies with|is with|remains with|comes? from|is borne by|is for|goes on|comes? out of|stays with|left with|to come from|is left with) {_DET}(?:\w+ , meaning )?@",
    "paid-by": rf"\b(?:paid|payable|settled|covered|borne|met|funded|reimbursed|financed|carried|due|owed|owing|refunded|returned|remitted|sent|transferred|provided|sponsored|discharged)(?: \w+){{0,2}} (?:by|from) {_DET}@",
    "as-payer": r"@ (?:\w+ ){0,3}?(?:as|is|are|being) (?:the |our |their )?(?:\w+ )?(?:payer|debtor|sender|client|buyer|customer|sponsor|remitter|tenant|owner|insured|patient|donor)\b",
    "its-on": rf"\b(?:on|onto|against|over to) {_DET}@ (?:'s |, |not|this|\.|please|pls|and)",
    "not-us": r"@ (?:, )?(?:and )?(?:not|rather than|instead of) (?:us|we|me|our|ours|the|from|to)\b",
    "arrow-from": r"@ (?:- > |→ |= > |> > |- - > |a |to |an )N",
    "use-account": rf"\b(?:use|using|take it from|comes from|come from|goes from|go from|drawn on|draw on|pulled from) {_DET}@",
    # the payee
    "to": rf"\b(?:to|2|over to|across to|onto|towards|unto|à|an|na rzecz|do|til|aan|a favor de) {_DET}@",
    "for": rf"\bfor {_DET}@",
    "pay": rf"\b(?:pay|paying|pays|paid|reimburse|refund|remunerate|compensate|repay|square|zelle|venmo|paypal|swish|wire|bung|slip|send|give|gives|owe|owes|owed|hand|sort|sort out|ping|credit|settle with|settle up with|get|tip|see|bank|transfer|chuck|shoot|approve|release|do|run|bacs|fix up|indemnify|tikkie) (?:M |him , |her , |over |off |out |back |up |also )?{_DET}@",
    "favour": rf"\b(?:in favour of|in favor of|favouring|favoring|favour|favor|to the order of|to the credit of|to the account of|credit of) {_DET}@",
    "payee-label": rf"\b(?:beneficiary|payee|creditor|recipient|supplier|vendor|seller|landlord|landlady|lessor|contractor|beneficiary name|account name|account holder|account is|name of account|a \/ c name|pay to|payable to|credit to|remit to|cheque to|check to|goes to|go to|to|made payable to|institution|ultimate beneficiary|creditor name|name|holder|dostawca|odbiorca|empfänger|begünstigter|zahlungsempfänger|bénéficiaire|beneficiario|proveedor|sprzedawca|begunstigde|from the firm|workshop|provider|pays to|grantee|consultant|freelancer|invoice from|artist|carrier|refund to|to be refunded|who gets it|claimant|employee|in favour of|goes by|called|trades as|trading as|t / a)(?:'s name)?(?: \))?{_IS}{_SEP}{_DET}@",
    "wants": r"@ (?:\( [^)]* \) |, [^,¶]* , )?(?:\w+ ){0,2}?(?:wants?|needs?|asks?|asked|asking|is owed|are owed|are due|is due|gets?|getting|should get|must get|should have|shall have|must have|to have|deserves?|waiting|waits|chasing|chases|chased|expects?|demands?|requests?|would like|is after|still not paid|unpaid|not paid|never got|hasn't been paid|hasn't had|haven't been paid)\b",
    "billed": r"@ (?:\( [^)]* \) |, [^,¶]* , )?(?:has |have |had |just |already |then |also |finally )*(?:billed|bills|invoiced|invoices|charged|charges|quoted|sent|asks for|fronted|put up|stumped|covered|laid out|paid for|advanced|shelled)\b",
    "worked": r"@ (?:\( [^)]* \) |, [^,¶]* , )?(?:has |have |had |just |already |then |also |finally )*(?:did|done|fixed|repaired|delivered|supplied|installed|finished|completed|came|drove|built|cleaned|cooked|played|made|printed|painted|provided|carried|mended|shot|cut|wrote|translated|booked|bought|judged|unloaded|worked)\b",
    "'s-bill": r"@ (?:'s |' )?(?:\w+ ){0,2}?(?:invoice|invoices|bill|fee|fees|expenses|refund|deposit|rent|wages|note|claim|quote|retainer|advance|instalment|premium|commission|inv|account rendered)\b",
    "bill-of": rf"\b(?:invoice|invoices|bill|inv|fatt|facture|rechnung|faktura|fee|fees|fee note|account|claim|work|services|statement|reminder|call|letter|demand)(?: (?:no|number|nr|ref))?(?: \.)?(?: R)?(?: for [^¶.]{{0,30}})?(?:,)? (?:from|of|by|at|submitted by|rendered by) {_DET}@",
    "takes-money": r"@ (?:\w+ ){0,3}?(?:gets|takes|receives|can have|may have|has earned|earned|is entitled|shall receive|should receive|will get)\b",
    "for-payment": r"@ (?:, |: |- |– )?(?:R , |for [^,¶.]{0,20}, )?M",
    "after-sum": rf"M (?:, )?(?:to|for|2|- >|→|>>|over to|in favour of|towards) {_DET}@",
    "before-sum-to": r"\b(?:pay|send|transfer|wire|remit|give|get) @ (?:\w+ ){0,3}?M",
    "my-details": r"@ (?:¶ )?(?:, )?(?:\w+ )?(?:iban|sort|account number|acc|bsb|swift|bic|R)\b",
    # neither
    "not": rf"\b(?:not|never|instead of|rather than|except|no longer|nor|neither|without) (?:to |from |by |for )?{_DET}@",
    "bystander": rf"\b(?:cc|copy|says|said|spoke to|asked|told|tell|ask|according to|per|see|ring|call|thanks to|approved by|requested by|authorised by|checked with|confirmed by|signed by|at|with|c / o|via|through|bank|branch) (?:: )?{_DET}@",
    "speaks": r"@ (?:\w+ ){0,1}?(?:says|said|told|thinks|reckons|confirmed|approved|agreed|signed|asked me|wrote|mentioned|knows|rang|called|over at|from|swears|checked|authorised|requested|has signed|okayed|here)\b",
    "already": r"@ (?:\w+ ){0,3}?(?:already|has paid|have paid|paid theirs|settled|is done|was paid|been paid|received|got theirs|is sorted)\b",
    "done-to": rf"\b(?:paid|sent|went|transferred|wired|gone|given)(?: M)? (?:to )?{_DET}@",
}

SUM: dict[str, str] = {
    "not": r"\b(?:not|isn't|wasn't|never|no longer|nor|instead of|rather than|ignore|forget|scrap|without|disregard|cancel|except|don't pay|do not pay|don't send) (?:the |that |of |pay |send |for |my |his |her |their |\")*@",
    "instead-after": r"@ (?:instead|rather|please|pls|not M|and not|now|only|only\b|all in|in total|altogether|incl|inclusive|flat|exactly|, not|\( not)",
    "was": r"\b(?:was|were|had|used to be|original|originally|quoted|quote|estimate|estimated|first|previous|old|last|earlier|formerly|down from|up from|from|usual|previously|before|initially)(?: \w+){0,2} @",
    "fixed": r"\b(?:make it|make that|should be|it's|its|it is|is now|now|revised|corrected|correct|actually|but|sorry|meant|i mean|instead|new|amended|reduced to|down to|changed to|read|to read|agreed|settled on|settle at|settle for|call it|comes down to|say) (?:to |at |on |for |a |is |amount |sum |figure |total |: )*@",
    "total": r"\b(?:total|gross|brutto|ttc|sum|altogether|amount due|amount payable|balance due|to pay|payable|invoice amount|grand total|all in|in all|full|total due|due|net payable|amount|comes to|comes out at|makes|that makes|which makes|leaves|leaving|so that's|that's|thats|therefore|hence|so|equals|owed|owing|outstanding|remaining|remains|left|the rest|balance|to be paid|to be transferred|to transfer|zu zahlen|razem|à payer|totaal|do zapłaty|invoice total|net due)(?: (?:is|of|to|due|now|payable|amount|incl|inclusive|vat|gst|only|a|comes|the|with|=|in|by))*(?: :| \.| -| =)* ?@",
    "equals": r"(?:=|:|→) @",
    "share": r"\b(?:half|third|quarter|share|part|portion|%|percent|per cent|deposit|instalment|installment|first|second|advance|retention|each|tranche|prepayment|downpayment|down payment|milestone)(?: \w+){0,4} @",
    "each": r"@ (?:each|apiece|per|a|an|\/|pp|x|p \/|pro|every (?!month)|a piece|pcm|the hour|hourly|a day|a night|an hour)\b",
    "rate": r"(?:@|at|x|×|à|rate|price|of|for) @ (?:each|per|an|a|\/|every)\b",
    "per-unit": r"(?:## |# |x |× |\* |à |at |@ )@",
    "part-of": r"\b(?:vat|tax|gst|ust|mwst|iva|moms|btw|tva|dph|freight|delivery|postage|carriage|shipping|labour|parts|materials|net|netto|subtotal|sub - total|taxable|cgst|sgst|discount|less|minus|deduct|deducting|deduction|plus|fee|fees|charges|excess|mileage|tip|handling|expenses|surcharge|rounding)(?: \w+){0,3}?(?: :| of| \.| -| =| \||%)* ?@",
    "taken-off": r"@ (?:off|discount|credit|less|deducted|retained|knocked|withheld|down|deposit|already|advance|was|were|has been|went|for (?:the )?(?:vat|tax))\b",
    "paid": r"\b(?:paid|sent|received|gave|given|got|transferred|deposit of|advanced|settled|already|refunded|took|covered|put in|chipped in|collected)(?: \w+){0,3} @",
    "ask": r"\b(?:pay|send|transfer|wire|remit|release|forward|give|zelle|venmo|bung|ping|get|settle|reimburse|refund|move|process|arrange|payment of|sum of|amount of|amount :|the sum|transfer of|debit|credit|need|needs|wants|want|owes|owe|owed|is due|are due|due|claim|bill for|invoice for|invoice of|bill of|remittance of|balance of|cheque for|check for|please|pls|kindly|approve|only)(?: (?:N|him|her|them|us|me|over|out|back|off|the|his|their|a|an|to|of|is|sum|amount|remaining|balance|just|only|exactly|now|today|for|full|another|across|,|:|total|N 's|-|final|back))* @",
    "to-name": r"@ (?:\w+ )?(?:to|for|2|- >|→|> >|goes to|in favour of|over to|is for|is due to|owed to|payable to) (?:the |our |mr |mrs |ms |dr )?N",
    "limit": r"\b(?:over|above|under|up to|at least|more than|less than|max|maximum|minimum|below|between|about|around|roughly|approx|nearer|budget|cap|limit|worth|or|range|to|and) @",
    "later": r"@ (?:\w+ ){0,6}?(?:later|next|when|after|once|until|on completion|following|will be|in (?:march|april|may|june|july|august)|to follow|month end|another time|can wait|whenever)\b",
    "words-too": r"@ \( M",
    "in-brackets": r"\( (?:\w+ ){0,3}?@ (?:\w+ ){0,3}?\)",
}

WHOLE: dict[str, str] = {
    "please-pay": r"\b(?:please|pls|plz|kindly|pl|could|can|would|will|may i ask|request|requested|grateful|appreciate|need|needs|want|wants|ask|arrange|instruct|authorise|hereby|must|should|has to|have to|ensure|make sure|go ahead|feel free|do)\b(?: \w+| ,| N| '\w+){0,8}? (?:pay|paid|payment|transfer|transferred|send|wire|remit|settle|settlement|release|reimburse|refund|debit|credit|forward|process|bacs|zelle|venmo|move|give|make|sort|issue|discharge|ping|clear)\b",
    "imperative": r"(?:^|¶|[.!?,:;] |- |and |then |so |just )(?:pay|transfer|send|wire|remit|settle|release|reimburse|refund|debit|give|bung|ping|move|square|approve|credit|forward|process|charge|sort)\b",
    "sum-to-name": r"M (?:\w+ ){0,3}?(?:to|for|- >|→|2|into|in favour of) (?:\w+ ){0,3}?N",
    "name-sum": r"N(?: ,| :| -| –| for| R| \.)* M",
    "owed": r"\b(?:owed|owes|owe|due|outstanding|unpaid|overdue|payable|invoice total|amount due|balance due|chasing|still waiting|waiting for|hasn't been paid|not been paid|still not paid)\b",
    "payment-label": r"\b(?:payee|beneficiary|creditor|bill to|invoice to|pay to|remit to|payable to|account name|in favour of|favouring|debit|charge to|iban|sort code|bank details|payment terms|due date)\b",
    "already-done": r"\b(?:already|has been|have been|had been|was|were|been|is|are|got|just|successfully|we've|we have|i've|i have|you've|he's|she's|they've|they)(?: \w+){0,3}? (?:paid|settled|sent|transferred|wired|received|cleared|refunded|completed|executed|processed|debited|credited|issued|collected|landed|arrived|remitted|reimbursed|deposited|confirmed|posted|booked|reconciled|shipped|cancelled|closed)\b",
    "went": r"\bM (?:\w+ ){0,4}?(?:went|left|landed|arrived|cleared|came in|hit|reached|was paid|was received|has been|have been|were|is in|came|paid|sent|showed up|bounced|dropped|debited)\b",
    "i-paid": r"(?:^|¶|[.!?,] )(?:i |we |n |just |have |has )?(?:paid|sent|transferred|received|got|settled|refunded|wired) ",
    "nothing-to-do": r"\b(?:no action|nothing to do|nothing for you|no need|needn't|no payment|nothing more|nothing is|nothing further|don't need to|do not need to|not required|is needed|for information|for your information|fyi|for info|just so you know|for your records|for the file|for reference|just for|automatically|no reply|do not reply|tick it off|cross it off|take it off|for the record|nobody has to|not a request|not a demand|not an invoice)\b",
    "dont-pay": r"\b(?:don't|do not|dont|never|not|won't|refuse to|stop|hold|hold off|holding|cannot|can't|not going to|before we|until|without) (?:\w+ ){0,3}?(?:pay|paying|payment|transfer|send|release|settle|money)\b",
    "warning": r"\b(?:fraud|fraudulent|fraudsters|scam|scammers|phishing|fake|suspicious|impersonat\w+|pretending|warning|beware|spoof\w*|criminals|never ask|do not click|don't click|report it|genuine|hoax|con)\b",
    "offer": r"\b(?:offer|quote|quotation|estimate|proposal|valid until|valid for|valid till|discount code|sale|save|voucher|per month|from just|subscribe|unsubscribe|newsletter|webinar|book now|early bird|free|prices|price list|promo|deal|limited|register|click|shop|off everything|tender|without obligation|pro forma)\b",
    "receipt": r"\b(?:receipt|confirmation|confirm|statement|advice|remittance advice|acknowledge|acknowledgement|thank you for your|thanks for the|thanks for your|many thanks for|summary|payslip|payroll|salary|wages|minutes|report|transaction|balance :|closing balance|opening balance|brought forward|history|notification|alert|ended|available balance)\b",
    "dispute": r"\b(?:dispute|query|question|why|what is|what's|whats|explain|clarify|wrong|incorrect|mistake|error|not ours|never ordered|don't recognise|do not recognise|not on my|overcharged|credit note|complaint|disagree|object|contest|check|look into|wondering|which|who|does anyone)\b",
    "promise": r"\b(?:will|should|shall|'ll|going to|expect|expected|promised|promises)(?: \w+){0,4}? (?:arrive|land|reach|come|be paid|be with|be credited|hit|pay us|pay you|receive|get it|follow|transfer|send you|settle|be in|clear|see it|have it|drop)\b",
    "reminder-done": r"\b(?:no longer|reminder|was paid|has paid|as paid|already paid|paid in full|fully paid|settled in full|nil balance|all square|up to date|crossed|in the post)\b",
    "question-end": r"\? (?:¶|$)",
    "unknown-sum": r"\b(?:figure|amount|total|number|sum|invoice|price|bill) (?:\w+ ){0,5}?(?:to follow|tomorrow|later|not known|unknown|yet|tbc|tbd|next week|once|when|isn't|not in)\b",
}

_PARTY = [(name, re.compile(pattern)) for name, pattern in PARTY.items()]
_SUM = [(name, re.compile(pattern)) for name, pattern in SUM.items()]
_WHOLE = [(name, re.compile(pattern)) for name, pattern in WHOLE.items()]


def party_phrases(around: str) -> list[str]:
    """The turns of phrase that a party marked `@` stands in."""
    return [name for name, pattern in _PARTY if pattern.search(around)]


def sum_phrases(around: str) -> list[str]:
    """The turns of phrase that a sum marked `@` stands in."""
    return [name for name, pattern in _SUM if pattern.search(around)]


def mail_phrases(whole: str) -> list[str]:
    """The turns of phrase that the mail has."""
    return [name for name, pattern in _WHOLE if pattern.search(whole)]
