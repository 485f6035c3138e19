"""Words for the search of tools: which say little, which stand for each other, what products are for.

General English and well-known product names; nothing here is taken from a particular server.
"""

from __future__ import annotations

EMPTY = frozenset(
    """
    a about also am an and any are as at be been being but by can could d did do does doing done each few for from had
    has have having he her here him his how i if im in into is it its ive just let ll may me might must my need no not
    of on onto or other our out please re s shall she should so some t than that the their them then there these they
    this those to too us use used using very via want was we were what when where which who whom whose why will with
    would you your between per
    """.split()  # noqa: SIM905 - a list of words reads as text
)
"""Words that say nothing of what is wanted."""

WEAK = frozenset(
    """
    again all anyone back best day down every everybody everything first good hour last latest left levels lot many
    month more morning most much new next night now old one only over own quarter recent recently right same someone
    something still thing things three today tomorrow two under up week year yesterday already another
    """.split()  # noqa: SIM905
)
"""Words that say a little, and stand in many descriptions."""

COMMON = frozenset(
    """
    add all check create get give list make new open put read run see set show tell update view
    """.split()  # noqa: SIM905
)
"""Words of so many tools that they tell none from another; as synonyms they only cost time."""

SYNONYMS = """
delete remove erase drop destroy discard trash purge clear uninstall
create add make new insert build generate produce set register compose draft author
update edit change modify alter patch revise adjust rename replace rewrite fix correct
get read fetch retrieve show view see open lookup describe inspect display check tell give
list all every show enumerate browse overview
search find query lookup locate seek discover explore filter
send post publish write notify message tell announce share email reply ping broadcast
run execute start launch trigger invoke perform kick
stop cancel abort halt terminate kill end quit shutdown
copy duplicate clone fork replicate mirror
move transfer relocate rename migrate
upload import load ingest attach push put save store
download export save pull extract dump
validate verify check lint test correct confirm audit
compare diff difference versus changes
merge combine join unify consolidate
restore revert undo rollback recover reset back
schedule cron recurring periodic timer hourly daily monitor
monitor watch observe track alert alarm alert metric health uptime
alert alarm notification warning threshold firing
log logs logging output trace event
error errors failure failed failing exception bug crash problem broken issue fault
deploy ship release rollout promote publish
permission permissions access rights role grant privilege acl authorize
user users person people member members account coworker colleague employee teammate profile
team group organization org workspace
customer client contact lead account buyer
deal opportunity sale pipeline
company organization business account firm
message messages chat conversation dm text discussion thread
channel room group
email mail inbox gmail letter
calendar event meeting appointment schedule invite
file files document doc attachment
folder directory path
docx word document doc
spreadsheet sheet excel table workbook xlsx csv grid
slide slides presentation deck powerpoint pptx
image picture photo screenshot icon icons graphic png svg
video clip movie recording
audio sound music voice speech
page site website web webpage url link
web internet online website
crawl spider follow scrape
scrape extract parse content
visitor visitors traffic users audience session sessions pageviews
analytics statistics stats metrics report insight dashboard traffic
report summary statistics
realtime live now current
database db sql table schema warehouse
query sql select question
row record entry item
column field property attribute
schema structure layout definition
index indexes
branch branches
commit commits revision history changelog
history log timeline past previous versions
repo repository project codebase
pull request pr review merge
issue ticket bug task
task todo job work item card
comment comments remark note annotation feedback
note notes memo annotation
tag label category
version versions release revision snapshot
package library dependency module sdk
documentation docs reference manual guide api
code source snippet script program
function method procedure
test tests testing spec check
mock fake stub simulate
environment env variable config
config configuration settings options preferences
secret secrets credential credentials password key token leaked
password passcode protect lock encrypt
api endpoint rest http request
request call
workflow automation flow pipeline scenario zap
node step action block
template boilerplate example sample
component widget element
design mockup figma layout
convert translate transform change
translate language translation localize
time clock hour date timezone
timezone zone hours utc gmt pst est
today now current
date day
number count amount how many total
sum add total plus
payment invoice billing charge subscription refund
order purchase checkout cart
product item catalog sku
price cost pricing amount
weather forecast temperature
map location place address geo geocode directions
geofence geofencing location area arrive nearby
barcode qr scanner scan
camera photo capture
news article headline
summarize summary summarise tldr condense
think reason reasoning thought reflect plan carefully
memory remember recall store knowledge
entity node graph relation
cluster kubernetes pod container
container docker image
server instance vm machine host compute
cpu load usage utilization performance
bucket storage s3 blob object
queue message topic stream
backup snapshot dump
click tap press
type fill input enter
browser page tab chrome
screenshot capture image
footnote footnotes reference endnote citation
heading headings title outline section
paragraph text line
table grid cells rows
stripe stripes alternating zebra striped
style format formatting font bold
header footer
bookmark favorite star
archive store old
approve accept confirm
reject decline deny
assign give allocate
invite add join
subscribe follow watch
install setup add
stage staged staging index add
unstage reset unstaged
stash shelve
untracked modified status dirty
status state progress condition
trend pattern cycle seasonality weekly
anomaly anomalies weird unusual detect outlier strange
recommend suggest suggested recommendation advice
estimate forecast predict
migrate move upgrade
sync synchronize pull mirror
connect link associate attach
association associate relation relationship belong link
duplicate copy
collection group set
leak leaked exposed detected
activity audit feed log
browse open navigate
site map structure sitemap
"""
"""Each line is a group of words of which any may be meant by any."""

PURPOSES = """
hubspot: crm marketing sales contacts deals companies
salesforce: crm sales org apex soql sandbox lwc accounts
slack: chat channel message coworker workspace conversation team
discord: chat channel message guild community
teams: chat meeting microsoft
telegram: chat message bot
whatsapp: chat message
git: repo repository commit branch local version control staged
github: repo repository code pull request issue pr commit actions
gitlab: repo repository merge request issue pipeline ci
bitbucket: repo repository pull request
jira: ticket issue sprint board epic project agile
linear: ticket issue sprint project cycle
asana: task project todo
trello: card board list
notion: page wiki notes workspace database docs
confluence: page wiki docs space
atlassian: jira confluence ticket issue page wiki sprint
obsidian: notes vault markdown
word: docx document doc office contract report
excel: xlsx spreadsheet workbook sheet
powerpoint: pptx slides presentation deck
pdf: document pages
gmail: email mail inbox
outlook: email mail calendar
google-workspace: gmail email calendar drive docs sheets slides
google-analytics: traffic visitors website sessions ga4 audience conversions pages
google-search-console: seo search traffic indexing ranking keywords
google-maps: places directions location geocode
postgres: sql database postgresql table query
postgresql: sql database table query
mysql: sql database table query
sqlite: sql database table query
clickhouse: sql database analytics olap table
mongodb: database nosql collection document atlas
redis: cache key database
supabase: database postgres backend auth
snowflake: sql warehouse database
bigquery: sql warehouse database
neo4j: graph database cypher
qdrant: vector database semantic memory
pinecone: vector database semantic
elasticsearch: search index logs
stripe: payment billing invoice customer subscription refund
paypal: payment invoice billing
shopify: store product order shop
xero: accounting invoice
quickbooks: accounting invoice
twilio: sms phone call
sendgrid: email
mailchimp: email newsletter campaign
aws: amazon cloud ec2 s3 lambda
aws-cloudwatch: aws logs metrics alarms monitoring ec2 lambda
azure: microsoft cloud resource
gcp: google cloud
cloudflare: dns worker cdn domain
vercel: deployment hosting project
netlify: deployment hosting site
heroku: app deployment dyno
kubernetes: cluster pod deployment k8s namespace
docker: container image
terraform: infrastructure provider module
grafana: dashboard metrics monitoring
datadog: monitoring metrics logs apm
sentry: error exception crash issue monitoring
pagerduty: incident oncall alert
figma: design mockup icons layout prototype
canva: design graphic
tavily: web internet online search research website crawl
brave: web internet search
exa: web internet search
perplexity: web search answer
firecrawl: web scrape crawl website
fetch: web url download page
browser: web page click navigate
playwright: browser web page click screenshot automation
puppeteer: browser web page click screenshot
chrome-devtools: browser page network performance console
apify: web scraping actor crawler
context7: library documentation docs api reference package framework
n8n: automation workflow node integration
zapier: automation workflow integration
make: automation scenario
postman: api collection request endpoint mock monitor
openapi: api spec
dataforseo: seo keywords backlinks serp ranking
semrush: seo keywords
time: clock timezone hour date today now
calendar: event meeting schedule
memory: remember recall knowledge graph notes facts
filesystem: file folder directory disk path local
sequential-thinking: think reason plan step
spotify: music song playlist
youtube: video channel transcript
twitter: tweet post social
reddit: post subreddit
linkedin: profile job post
airtable: base table record
zoom: meeting call
dropbox: file storage
box: file storage
intercom: customer support conversation
zendesk: ticket support customer
everything: test demo
"""
"""What well-known products are for: a word of a server's name, and what people say who mean it."""
