"""How a notice leaves the house: SMTP, Amazon SES and SNS, Alibaba Cloud SMS, behind one small protocol.

A sender knows addresses and bytes; it knows no member, no template and no database. ``protocol`` says what every sender
answers, ``choice`` which one serves which channel.
"""
